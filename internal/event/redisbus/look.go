package redisbus

import (
	"context"
	"sync/atomic"
	"time"

	"mallard/internal/mail"
)

// lookStep is how finely the pace of looks is divided.
const lookStep = 50 * time.Millisecond

// looker tells accounts to look into the store, at a bounded pace: all of them once, or again and again.
type looker struct {
	o       Options
	all     func() []mail.AccountID
	tell    func(mail.AccountID)
	polling atomic.Bool
	wake    chan struct{}
}

func newLooker(o Options, all func() []mail.AccountID, tell func(mail.AccountID)) *looker {
	return &looker{o: o, all: all, tell: tell, wake: make(chan struct{}, 1)}
}

// once has all accounts look, from now on as fast as the pace allows.
func (l *looker) once() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// poll has all accounts look now and again and again, or ends that.
func (l *looker) poll(on bool) {
	l.polling.Store(on)
	if on {
		l.once()
	}
}

func (l *looker) run(ctx context.Context) {
	for {
		var again <-chan time.Time
		if l.polling.Load() {
			again = time.After(l.o.Poll)
		}
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		case <-again:
		}
		l.pass(ctx)
	}
}

// pass tells every account once.
func (l *looker) pass(ctx context.Context) {
	each := max(1, int(int64(l.o.LookRate)*int64(lookStep)/int64(time.Second)))
	for i, acct := range l.all() {
		if i > 0 && i%each == 0 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(lookStep):
			}
		}
		l.tell(acct)
	}
}
