package httpapi

import "slices"

// table returns all routes, in the order in which the document lists them.
func (a *API) table() []*Route {
	return slices.Concat(
		a.userRoutes(),
		a.addressRoutes(),
		a.forwardedRoutes(),
		[]*Route{a.renameDomainRoute()},
		a.mailboxRoutes(),
		a.messageRoutes(),
		a.searchRoutes(),
		a.updateRoutes(),
		a.loginRoutes(),
		a.authLogRoutes(),
		a.healthRoutes(),
	)
}
