// Package hostile attacks the host with modules; it has nothing but tests.
//
// TestHostileGuests is the list: what each guest tries, what refuses it, and
// the text that the user, or who installs it, is shown. Each is played through
// sandbox, catalog, flow and effect to stub services, while a module that
// behaves well answers beside it. The other tests hold what no text shows: that
// nothing stays between actions, and how long a guest can keep the host waiting.
package hostile
