package main

import "context"

func hammer(ctx context.Context, o options, out *printer) error { return nil }
func soak(ctx context.Context, o options, out *printer) error   { return nil }
