package memstore_test

import (
	"testing"

	"mallard/internal/store"
	"mallard/internal/store/memstore"
	"mallard/internal/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, storetest.Engine{
		Name: "memstore",
		New: func(testing.TB) *storetest.Disk {
			return &storetest.Disk{
				Open:     func() (store.Store, error) { return memstore.New(memstore.Options{Mangle: true}), nil },
				Volatile: true,
			}
		},
	})
}
