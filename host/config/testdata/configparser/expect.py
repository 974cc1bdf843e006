"""Writes cases.json: INI texts and what Python's configparser makes of them. Run it in its folder after a change of
the texts: python3 expect.py"""
import configparser
import json
import random

HEAD = "[resilient]\n"

WRITTEN = {
    "plain": HEAD + "host=a\nport: 443\n",
    "blanks around": HEAD + "  host  =   a b  \n",
    "upper-case key": HEAD + "Host=a\nORG = B\n",
    "section names are case-sensitive": "[Resilient]\nhost=a\n[resilient]\nhost=b\n",
    "blanks in a header": "[ resilient ]\nhost=a\n",
    "text after a header": "[resilient] # comment\nhost=a\n",
    "bracket within a header": "[a]b]\nhost=a\n",
    "empty header": HEAD + "[]\n",
    "empty header with value": HEAD + "[]=x\n",
    "unclosed header": HEAD + "[fn\n",
    "unclosed header with value": HEAD + "[fn=1\n",
    "comments": "# a\n; b\n" + HEAD + "  # c\nhost=a\n;host=b\n#host=c\n",
    "no inline comments": HEAD + "a=x # y\nb=x ; y\nc=#x\nd=;x\n",
    "interpolation": HEAD + "a=%(b)s\nb=100%\nc=%%\nd=${x:y}\n",
    "double quotes": HEAD + 'a="x"\nb="x\nc=x"\nd=""\ne="a"b"\n',
    "single quotes": HEAD + "a='x'\nb='\nc='''x'''\n",
    "triple quotes": HEAD + 'a="""x"""\nb="""\nc=1\n',
    "backticks": HEAD + "a=`x`\nb=`x\nc=`\nd=x`y\n",
    "backslash at the end": HEAD + "a=x\\\nb=y\\\\\nc=\\\n",
    "delimiters in a value": HEAD + "a==x\nb=:x\nc:=x\nd=x=y:z\ne:x=y\n",
    "delimiters with blanks": HEAD + "a = =x\nb : :x\n",
    "base64": HEAD + "password=QUJD/+RA==\n",
    "quoted key": HEAD + '"host"=a\n`org`=b\n\'x\'=c\n"y=d\n',
    "key of a hyphen": HEAD + "-=a\n--=b\n",
    "key with blanks": HEAD + "Custom_ Source = x\n",
    "key with brackets": HEAD + "a[b]=x\n",
    "no delimiter": HEAD + "host\n",
    "no key": HEAD + "=x\n",
    "no key, colon": HEAD + "  : x\n",
    "before the first section": "host=a\n" + HEAD,
    "blank value": HEAD + "a=\nb:\nc = \n",
    "continued": HEAD + "a=x,\n  y,\n\tz\nb=1\n",
    "continued from a blank value": HEAD + "a=\n  x\n  y\n",
    "continued over an empty line": HEAD + "a=x\n\n  y\n\nb=1\n",
    "continued over a comment": HEAD + "a=x\n# no\n  y\n  # neither\n  z\n",
    "continued with a key in it": HEAD + "a=x\n  b=y\n  [c]\n",
    "indented keys": HEAD + "  a=x\n  b=y\n    c=z\n d=w\n",
    "indented header": "  [resilient]\n  a=x\n [other]\nb=y\n",
    "indented first key": HEAD + "    a=x\nb=y\n",
    "header after indented key": HEAD + "a=x\n\n[b]\nc=d\n",
    "duplicate key": HEAD + "a=x\nb=y\na=z\n",
    "duplicate key in another case": HEAD + "a=x\nA=z\n",
    "same key in two sections": HEAD + "a=x\n[b]\na=y\n",
    "duplicate section": HEAD + "a=x\n[b]\n" + HEAD + "c=y\n",
    "default section": "[DEFAULT]\na=x\n" + HEAD + "b=y\n",
    "default section twice": "[DEFAULT]\na=x\n" + HEAD + "b=y\n[DEFAULT]\nc=z\n",
    "duplicate key in default section": "[DEFAULT]\na=x\n[DEFAULT]\na=z\n",
    "dotted section": "[a]\nx=1\n[a.b]\ny=2\n",
    "byte order mark": "\ufeff" + HEAD + "a=x\n",
    "byte order mark later": HEAD + "\ufeffa=x\n",
    "carriage returns": "[resilient]\r\na=x\r\n  y\r\nb=z\r\n",
    "old Mac": "[resilient]\ra=x\rb=y\r",
    "no newline at the end": HEAD + "a=x",
    "form feed": HEAD + "a=x\x0cy\n\x0cb=z\n",
    "control characters as blanks": HEAD + "a=x\x1c\n\x1fb=z\n",
    "other blanks": HEAD + "a=\u00a0x\u2003\n\u00a0b=y\n",
    "next line character": HEAD + "a=x\x85y\n",
    "NUL": HEAD + "a=x\x00y\n",
    "not ASCII": HEAD + "größe=ä€😀\nÄ=x\n",
    "empty": "",
    "only comments": "# a\n; b\n",
    "section without keys": HEAD,
}

TOKENS = ["[a]", "[b]", "[a.b]", "[DEFAULT]", "[", "]", "a", "b", "Key", "=", ":", "=", "\n", "\n", "\n", "\n", " ", "  ",
          "\t", "#", ";", '"', '"""', "'", "`", "\\", "%", "$", "{", "}", "-", "\r", "\r\n", "x y", "é", "\u00a0", "\x1d", ",", "\n  ", "\n a=",
          "\nb=", "\nc:"]


def expectation(text):
    parser = configparser.ConfigParser(interpolation=None)
    text = text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")  # as open() and the reference client do
    try:
        parser.read_file(iter_lines(text))
    except configparser.MissingSectionHeaderError as error:
        return {"error": error.lineno}
    except configparser.ParsingError as error:
        return {"error": error.errors[0][0]}
    except (configparser.DuplicateOptionError, configparser.DuplicateSectionError) as error:
        return {"error": error.lineno}
    return {"sections": {name: dict(parser._sections[name]) for name in parser.sections()}, "defaults": dict(parser.defaults())}


def iter_lines(text):
    """Lines as a text file gives them: only \\n ends a line, other than with str.splitlines."""
    while text:
        line, newline, text = text.partition("\n")
        yield line + newline


def main():
    cases = [{"name": name, "text": text, **expectation(text)} for name, text in WRITTEN.items()]
    rng = random.Random(1)
    for number in range(300):
        text = rng.choice(["", HEAD, "[a]\nk=v\n"]) + "".join(rng.choices(TOKENS, k=rng.randint(3, 25)))
        cases.append({"name": f"random {number}", "text": text, **expectation(text)})
    for number in range(200):
        lines = [rng.choice(["[a]", "[b]", "[DEFAULT]", "  [a.b]"])]
        for key in range(rng.randint(1, 8)):
            value = "".join(rng.choices([token for token in TOKENS if "\n" not in token and "\r" not in token], k=rng.randint(0, 6)))
            lines.append(rng.choice(["", "", "", " ", "   ", "\t"]) + rng.choice([f"k{key}", f"K {key}", f'"q{key}"', "#", "  "])
                         + rng.choice(["=", ":", " = ", " :", ""]) + value)
            if rng.random() < 0.2:
                lines.append("")
        cases.append({"name": f"random lines {number}", "text": "\n".join(lines), **expectation("\n".join(lines))})
    with open("cases.json", "w", encoding="utf-8") as out:
        out.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


main()
