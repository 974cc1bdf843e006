package ledger

// Path is the ledger's file.
func (l *Ledger) Path() string { return l.path }

// Live counts the messages in memory.
func (l *Ledger) Live() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.live)
}
