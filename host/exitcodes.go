package host

// CodeMeaning is what an exit code means, and whether a service manager should
// start the host again after it.
type CodeMeaning struct {
	Code    int
	Meaning string
	// Restart says that a new start may help. After the others nothing gets better
	// by itself, and a login that is refused again and again gets accounts locked.
	Restart bool
}

// ExitCodes are all exit codes in order; the table of host/README.md, the man
// page and the unit file follow them.
func ExitCodes() []CodeMeaning {
	return []CodeMeaning{
		{ExitOK, "ended in order (SIGINT, SIGTERM)", false},
		{ExitFailure, "a fault that has no code of its own; `config check` found mistakes; `selftest`: ThreatQ, or the server has none of the rules or functions; `queue drain`: some messages were missing, or the session was lost; `status`: none runs, or it cannot work; `explain`: no module takes it; `simulate`: the action would fail; `replay`: something differs", true},
		{ExitUsage, "wrong arguments", false},
		{ExitConfig, "the configuration has mistakes, or `stomp=0` leaves nothing to do", false},
		{ExitModules, "a module is missing or refused", false},
		{ExitLocked, "another host holds the lock", false},
		{ExitDeclined, "a question was answered with no, or there was nobody to ask (`--yes`)", false},
		{ExitForbidden, "the account lacks a right", false},
		{ExitRefused, "the server refused a change, such as an import, or would refuse it: a conflict, a SOAR older than 35, a function in use", false},
		{ExitUnreachable, "SOAR answered with what cannot pass by itself, such as 404", true},
		{ExitUnauthorized, "SOAR refused the login", false},
		{ExitNoCertificate, "a certificate file cannot be used", false},
		{ExitTLS, "a server's certificate is not trusted (SOAR, or the broker before the first subscription)", false},
		{ExitOrganization, "the organization is not there or switched off, or its actions are disabled", false},
		{ExitStompError, "the broker refused the session for another reason", true},
		{ExitStompLogin, "the broker refused the login", false},
		{ExitStompForbidden, "the message destination is missing or a topic, or the account may not read it", false},
		{ExitInterrupted, "ended by Ctrl-C in the middle of a command other than `run`", false},
	}
}
