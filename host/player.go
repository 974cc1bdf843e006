package host

import (
	"context"
	"fmt"
	"path/filepath"

	"fn-threatq/host/scenario"
)

// NewPlayer replays recorded dialogues to a module: the file, or the installed
// module of that name. Of the options it takes Modules and the folders.
func NewPlayer(ctx context.Context, o Options, name string, file []byte) (*scenario.Player, error) {
	a := &App{o: o}
	if err := a.folders(); err != nil {
		return nil, err
	}
	if file == nil {
		c, err := installed(o)
		if err != nil {
			return nil, err
		}
		for _, m := range c.Modules() {
			if m.Manifest().Name == name {
				if file, err = m.File(); err != nil {
					return nil, err
				}
			}
		}
		if file == nil {
			return nil, fmt.Errorf("no module %q is in use; `fn-threatq plugin list` shows those there are", name)
		}
	}
	return scenario.NewPlayer(ctx, filepath.Join(a.o.CacheDir, "modules"), file)
}
