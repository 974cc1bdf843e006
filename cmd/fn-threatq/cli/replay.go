package cli

import (
	"context"
	"errors"
	"os"

	"fn-threatq/host"
	"fn-threatq/host/scenario"
)

// withPlayer opens a player of a module file, or of the installed module.
func (p *program) withPlayer(ctx context.Context, name, path string, do func(context.Context, *scenario.Player) error) (err error) {
	var file []byte
	if path != "" {
		if file, err = os.ReadFile(path); err != nil {
			return err
		}
	}
	player, err := host.NewPlayer(ctx, host.Options{}, name, file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, player.Close(context.WithoutCancel(ctx))) }()
	return do(ctx, player)
}
