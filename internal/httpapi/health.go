package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"mallard/internal/mail"
)

type noParams struct{}

type healthReply struct {
	success
	Version string `json:"version" doc:"Version of the server"`
	Message string `json:"message,omitempty" doc:"What does not work"`
}

func (a *API) healthRoutes() []*Route {
	return []*Route{
		handle(Route{
			Method: http.MethodGet, Pattern: "/health", Name: "getHealth", Tag: "Health",
			Summary:      "Check that the server works",
			Description:  "Asks the store, in a cluster MongoDB and Redis. Fails with status 500 and a message that says what does not work.",
			AllowUnknown: true,
		}, a.getHealth),
		handle(Route{
			Method: http.MethodGet, Pattern: "/openapi.json", Name: "getOpenAPI", Tag: "Health",
			Summary:      "Get this description of the API",
			AllowUnknown: true, Produces: typePlainJSON,
		}, a.getOpenAPI),
	}
}

func (a *API) getHealth(ctx context.Context, c *call, _ *noParams) (healthReply, error) {
	reply := healthReply{success: ok(), Version: a.opt.Version}
	err := a.opt.Health(ctx)
	if err == nil {
		return reply, nil
	}
	reply.Success, reply.Message = false, "The store is down"
	if e, ok := errors.AsType[*mail.Error](err); ok && e.Code == mail.CodeUnavailable && e.Public != "" {
		reply.Message = e.Public
	}
	a.writeBody(c.w, http.StatusInternalServerError, typeJSON, reply)
	return reply, fmt.Errorf("health check: %w", err)
}

func (a *API) getOpenAPI(_ context.Context, c *call, _ *noParams) (streamed, error) {
	doc, err := a.openapi()
	if err != nil {
		return streamed{}, fmt.Errorf("build the OpenAPI document: %w", err)
	}
	writeBytes(c.w, http.StatusOK, typePlainJSON, doc)
	return streamed{}, nil
}
