package host

import (
	"crypto/tls"
	"errors"
	"net/http"

	"fn-threatq/abi"
	"fn-threatq/host/broker"
	"fn-threatq/host/catalog"
	"fn-threatq/host/config"
	"fn-threatq/host/ledger"
	"fn-threatq/host/provision"
	"fn-threatq/host/resilient"
	"fn-threatq/host/rest"
	"fn-threatq/host/sandbox"
	"fn-threatq/host/selftest"
)

// Exit codes of the process. From 20 on they are those of resilient-circuits;
// an error never ends with 0, so that a supervisor sees it.
const (
	ExitOK             = 0
	ExitFailure        = 1
	ExitUsage          = 2
	ExitConfig         = 3
	ExitModules        = 4
	ExitLocked         = 5   // another host holds the lock
	ExitDeclined       = 6   // asked and answered no, or there was nobody to ask
	ExitForbidden      = 7   // the account lacks a right
	ExitRefused        = 8   // the server refused what was to be changed
	ExitInterrupted    = 130 // SIGINT, as a shell has it
	ExitUnreachable    = 20
	ExitUnauthorized   = 21
	ExitNoCertificate  = 22
	ExitTLS            = 23
	ExitOrganization   = 24
	ExitStompError     = 30
	ExitStompLogin     = 31
	ExitStompForbidden = 32
)

// ExitCode is the code that an error of New, Run or config.Load ends the
// process with.
func ExitCode(err error) int {
	var (
		configuration *config.Error
		org           *resilient.OrgError
		refused       *broker.RefusedError
		connect       *broker.ConnectError
		exchange      *rest.Error
		locked        *LockedError
		ledgerLocked  *ledger.LockedError
		forbidden     *provision.ForbiddenError
		unchanged     *provision.RefusedError
	)
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &locked), errors.As(err, &ledgerLocked):
		return ExitLocked
	case errors.As(err, &forbidden):
		return ExitForbidden
	case errors.As(err, &unchanged):
		return ExitRefused
	case errors.Is(err, config.ErrCertificate):
		return ExitNoCertificate
	case errors.Is(err, ErrDestination):
		return ExitStompForbidden
	case errors.Is(err, selftest.ErrRights), errors.Is(err, resilient.ErrRulesForbidden):
		return ExitForbidden
	case errors.As(err, &configuration), errors.Is(err, ErrStompOff):
		return ExitConfig
	case errors.As(err, &org), errors.Is(err, resilient.ErrActionsDisabled):
		return ExitOrganization
	case untrusted(err):
		return ExitTLS
	case errors.As(err, &refused):
		switch refused.Kind {
		case broker.RefusedLogin, broker.RefusedCredentials:
			return ExitStompLogin
		case broker.RefusedDestination, broker.RefusedAlreadySubscribed:
			return ExitStompForbidden
		}
		return ExitStompError
	case errors.As(err, &connect):
		return ExitStompError
	case errors.As(err, &exchange):
		if exchange.Code == abi.CodeLogin || exchange.Status == http.StatusUnauthorized || exchange.Status == http.StatusForbidden {
			return ExitUnauthorized
		}
		return ExitUnreachable
	}
	var module *sandbox.Error
	if errors.As(err, &module) || errors.Is(err, catalog.ErrNoModules) {
		return ExitModules
	}
	return ExitFailure
}

// passes reports whether an error of the SOAR login may pass by itself.
func passes(err error) bool {
	var e *rest.Error
	if !errors.As(err, &e) || untrusted(err) {
		return false
	}
	switch e.Code {
	case abi.CodeUnreachable, abi.CodeUnknown:
		return true
	case abi.CodeHTTP:
		return e.Status >= http.StatusInternalServerError || e.Status == http.StatusTooManyRequests
	}
	return false
}

func untrusted(err error) bool {
	var unverified *tls.CertificateVerificationError
	return errors.As(err, &unverified)
}
