package config

import (
	"fmt"
	"slices"
	"strings"

	"fn-threatq/host/secret"
)

// Reference returns the table of all keys and environment variables in Markdown, for the README and for help texts.
func Reference() string {
	var out strings.Builder
	var ignored []Field
	for _, section := range sections {
		fmt.Fprintf(&out, "### `[%s]`\n\n| key | default | meaning |\n|---|---|---|\n", section)
		for _, field := range Fields() {
			switch {
			case field.Section != section:
			case field.Ignored != "":
				ignored = append(ignored, field)
			default:
				fmt.Fprintf(&out, "| `%s` | %s | %s |\n", field.Key, field.defaultText(), cell(field.meaning()))
			}
		}
		out.WriteString("\n")
	}
	out.WriteString("### Keys that are accepted without effect\n\n| key of `[resilient]` | why |\n|---|---|\n")
	for _, field := range ignored {
		fmt.Fprintf(&out, "| `%s` | %s |\n", field.Key, cell(field.Ignored))
	}
	out.WriteString("\n### References to secrets\n\nWithin a longer value the name stands in braces, as `${NAME}`.\n\n| value | stands for |\n|---|---|\n")
	for _, form := range secret.Forms {
		fmt.Fprintf(&out, "| `%s` | %s |\n", form[0], cell(form[1]))
	}
	out.WriteString("\n### Environment variables\n\n| variable | meaning |\n|---|---|\n")
	for _, variable := range variables() {
		fmt.Fprintf(&out, "| %s | %s |\n", variable[0], cell(variable[1]))
	}
	return out.String()
}

func (f Field) defaultText() string {
	switch {
	case f.Required:
		return "**required**"
	case f.Default == "":
		return "–"
	default:
		return "`" + f.Default + "`"
	}
}

func (f Field) meaning() string {
	text := f.Doc
	switch f.Kind {
	case KindSecret:
		text += "; better given by reference"
	case KindSeconds:
		text += ", in seconds"
	case KindChoice:
		if len(f.Choices) > 1 {
			text += ": `" + strings.Join(f.Choices, "`, `") + "`"
		}
	}
	return text
}

// cell protects a text within a Markdown table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

func variables() [][2]string {
	rows := [][2]string{
		{"`" + pathVariable + "`", "path of `app.config`; else `./app.config`, else `~/.resilient/app.config`, else `" + ServiceFile + "` of the installed service"},
		{"`" + lockVariable + "`", "lock file that `run` holds; else `" + ServiceLock + "` with the service's configuration, `~/.resilient/resilient_circuits_lockfile` with any other. Each host on a machine needs one of its own"},
	}
	for _, field := range Fields() {
		if field.EnvDefault != "" {
			rows = append(rows, [2]string{"`" + field.EnvDefault + "`", fmt.Sprintf("`%s` of `[%s]`, when the file does not have it", field.Key, field.Section)})
		}
		if field.Env != "" {
			rows = append(rows, [2]string{"`" + field.Env + "`", fmt.Sprintf("overrides `%s` of `[%s]`", field.Key, field.Section)})
		}
	}
	slices.SortFunc(rows, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	return append(rows,
		[2]string{"`RESILIENT_KEY`, `FN_THREATQ_KEY`", "override any key of `[resilient]` or `[fn_threatq]`, such as `FN_THREATQ_MAX_PARALLEL`"},
		[2]string{"`HTTPS_PROXY`", "overrides the proxy keys of `[resilient]`; proxy for ThreatQ where no key gives one"},
		[2]string{"`NO_PROXY`", "hosts that are reached without a proxy, with commas between them"},
		[2]string{"any", "referenced as `$NAME` in the file"})
}
