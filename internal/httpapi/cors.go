package httpapi

import (
	"net/http"
	"path"
	"slices"
)

const (
	corsAllowHeaders = "X-Access-Token,Authorization,accept,accept-version,content-type,request-id,origin,x-api-version,x-request-id,x-requested-with"
	corsExpose       = "api-version,content-length,content-md5,content-type,date,request-id,response-time"
)

// preflight answers a CORS preflight of any path. It reports whether it did.
func (a *API) preflight(w http.ResponseWriter, r *http.Request) bool {
	method := r.Header.Get("Access-Control-Request-Method")
	origin := r.Header.Get("Origin")
	if r.Method != http.MethodOptions || origin == "" || method == "" || !isToken(method) || !a.originAllowed(origin) {
		return false
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Set("Access-Control-Allow-Methods", method+",OPTIONS")
	h.Set("Access-Control-Allow-Headers", corsAllowHeaders)
	w.WriteHeader(http.StatusNoContent)
	return true
}

// allowOrigin marks the reply to a request of a known route as readable by the origin.
func (a *API) allowOrigin(w http.ResponseWriter, r *http.Request) {
	origin := r.Header.Get("Origin")
	if origin == "" || !a.originAllowed(origin) {
		return
	}
	w.Header().Set("Access-Control-Allow-Origin", origin)
	w.Header().Set("Access-Control-Expose-Headers", corsExpose)
}

// originAllowed matches the configured origins, in which * stands for anything
// but a slash.
func (a *API) originAllowed(origin string) bool {
	return slices.ContainsFunc(a.opt.CORSOrigins, func(o string) bool {
		if o == "*" || o == origin {
			return true
		}
		m, err := path.Match(o, origin)
		return err == nil && m
	})
}
