package cli

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"fn-threatq/host"
	"fn-threatq/host/provision"
)

// about is what the output of customize says of the SOAR, in JSON.
type about struct {
	Organization string `json:"organization"`
	SOARVersion  string `json:"soar_version"`
	Account      string `json:"account"`
}

func aboutServer(s *provision.Server) about {
	return about{s.Org, s.Version.Text, s.Account.Name}
}

func (a about) String() string {
	return oneLine(fmt.Sprintf("organization %s, SOAR %s, account %s", a.Organization, a.SOARVersion, a.Account))
}

// showPlan prints a plan: the summary and, of fields, only those that are not the same.
func (p *program) showPlan(plan *provision.Plan, s *provision.Server, asJSON bool) error {
	if asJSON {
		return writeJSON(p.Stdout, struct {
			about
			Writes bool             `json:"writes"`
			Items  []provision.Item `json:"items"`
		}{aboutServer(s), plan.Writes(), plan.Items})
	}
	fmt.Fprintf(p.Stdout, "%s\n\n", aboutServer(s))
	rows := [][]string{{"STATE", "KIND", "NAME", "NOTES"}}
	for _, i := range plan.Items {
		if i.State == provision.Same && (i.Kind == provision.KindField || i.Kind == provision.KindInput) {
			continue
		}
		rows = append(rows, []string{string(i.State), string(i.Kind), i.Name, strings.Join(i.Notes, "; ")})
	}
	if err := printTable(p.Stdout, rows); err != nil {
		return err
	}
	var counts []string
	for _, state := range []provision.State{
		provision.New, provision.Changed, provision.Overwritten, provision.Same, provision.Kept, provision.Deprecated, provision.Conflict,
	} {
		if n := plan.Count(state); n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, state))
		}
	}
	fmt.Fprintf(p.Stdout, "\n%s\n", strings.Join(counts, ", "))
	return nil
}

// showFormer prints what --clean would remove.
func (p *program) showFormer(former []provision.Former, s *provision.Server, asJSON bool) error {
	if asJSON {
		return writeJSON(p.Stdout, struct {
			about
			Former []provision.Former `json:"former"`
		}{aboutServer(s), append([]provision.Former{}, former...)})
	}
	fmt.Fprintf(p.Stdout, "%s\n\n", aboutServer(s))
	if len(former) == 0 {
		return nil
	}
	rows := [][]string{{"KIND", "NAME", "API NAME", "NOTES"}}
	for _, f := range former {
		note := ""
		if len(f.UsedBy) > 0 {
			note = "stays: used by the workflow " + strings.Join(f.UsedBy, ", ")
		}
		rows = append(rows, []string{string(f.Kind), f.Name, f.APIName, note})
	}
	if err := printTable(p.Stdout, rows); err != nil {
		return err
	}
	fmt.Fprintln(p.Stdout)
	return nil
}

// exportDocument writes the document of --export.
func (p *program) exportDocument(ctx context.Context, f customizeFlags) error {
	document, err := host.CustomizationDocument(p.options(), f.only)
	if err != nil {
		return asUsage(err)
	}
	text := document.Encode()
	if f.export == "-" {
		_, err := p.Stdout.Write(text)
		return err
	}
	if end := filepath.Ext(f.export); end == ".resz" || end == ".zip" {
		if text, err = packed(text); err != nil {
			return err
		}
	}
	if _, err := os.Stat(f.export); err == nil {
		if err := p.ask(ctx, f.export+" exists. Overwrite it?", f.yes); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := replaceFile(f.export, text); err != nil {
		return err
	}
	p.tell(f.export + ": written; an administrator imports it in SOAR by the Organization tab of the Administrator Settings, then adds the account of fn-threatq to the message destination fn_threatq")
	return nil
}

// packed is the form in which SOAR itself hands out exports: a ZIP with one file. Its
// times are left out, so that the same document gives the same bytes.
func packed(text []byte) ([]byte, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create("export.res")
	if err == nil {
		_, err = w.Write(text)
	}
	if err := errors.Join(err, z.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// replaceFile writes a file whole or not at all.
func replaceFile(path string, text []byte) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary.Name()) }() // it is gone when all went well
	_, err = temporary.Write(text)
	if err = errors.Join(err, temporary.Chmod(0o644), temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}
