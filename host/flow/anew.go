package flow

import "time"

// anewPause keeps a run that is given up again and again from spinning.
const anewPause = time.Second

// beginAnew has the messages of a run that was given up worked on again by this
// host, as the next one would after a crash: nothing else would, since the broker
// delivers them again only when its session ends. It reports false when the host
// stops, which leaves them to the broker.
func (f *Flow) beginAnew(r *run, o outcome) bool {
	if o.stuck != nil {
		f.record.wait(o.stuck)
	} else {
		select {
		case <-time.After(anewPause):
		case <-f.leaving:
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.draining {
		return false
	}
	for _, j := range r.jobs {
		// It may have been packed. What it says was read before.
		j.message, _, _ = j.open()
		j.packed = nil
		f.queue(j)
	}
	return true
}

// whyAnew is what the log says of an abandoned run when the host does not stop.
func (f *Flow) whyAnew(o outcome) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.draining:
		return o.why
	case o.stuck != nil:
		return o.stuck.Error() + "; the action begins anew when that can be done"
	}
	return "the configuration was reloaded while the action waited for a service; it begins anew"
}
