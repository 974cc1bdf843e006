// A JSON reader and writer of the smallest kind. A value is a piece of the input:
// what stands in it is looked for when it is asked for. The host gives JSON that
// is valid, so mistakes in it are not looked for.

const QUOTE: i32 = 0x22;
const BACKSLASH: i32 = 0x5c;
const COMMA: i32 = 0x2c;
const OPEN_LIST: i32 = 0x5b;
const CLOSE_LIST: i32 = 0x5d;
const OPEN_OBJECT: i32 = 0x7b;
const CLOSE_OBJECT: i32 = 0x7d;

function isBlank(c: i32): bool {
  return c == 0x20 || c == 9 || c == 10 || c == 13;
}

/** A piece of a JSON text, from one place to another; none when they are the same. */
export class Value {
  constructor(private json: string, private from: i32, private to: i32) {}

  /** The first value of a text. */
  static of(json: string): Value {
    return Value.at(json, 0, json.length);
  }

  private static at(json: string, from: i32, end: i32): Value {
    from = blanks(json, from, end);
    return new Value(json, from, valueEnd(json, from, end));
  }

  private first(): i32 {
    return this.from < this.to ? this.json.charCodeAt(this.from) : 0;
  }

  exists(): bool {
    return this.from < this.to;
  }

  /** Also when there is none. */
  isNull(): bool {
    return !this.exists() || this.first() == 0x6e;
  }

  isNumber(): bool {
    const c = this.first();
    return c == 0x2d || (c >= 0x30 && c <= 0x39);
  }

  isObject(): bool {
    return this.first() == OPEN_OBJECT;
  }

  /** The member of an object; of several the last counts. */
  get(key: string): Value {
    let found = new Value(this.json, 0, 0);
    if (!this.isObject()) return found;
    let p = blanks(this.json, this.from + 1, this.to);
    while (p < this.to && this.json.charCodeAt(p) == QUOTE) {
      const name = Value.at(this.json, p, this.to);
      const value = Value.at(this.json, blanks(this.json, name.to, this.to) + 1, this.to); // behind the colon
      if (name.text() == key) found = value;
      p = behind(this.json, value.to, this.to);
    }
    return found;
  }

  /** The items of a list; none of anything else. */
  items(): Value[] {
    const list: Value[] = [];
    if (this.first() != OPEN_LIST) return list;
    let p = blanks(this.json, this.from + 1, this.to);
    while (p < this.to && this.json.charCodeAt(p) != CLOSE_LIST) {
      const item = Value.at(this.json, p, this.to);
      list.push(item);
      p = behind(this.json, item.to, this.to);
    }
    return list;
  }

  /** The content of a string, the digits of a number; else empty. */
  text(): string {
    if (this.isNumber()) return this.json.substring(this.from, this.to);
    if (this.first() != QUOTE) return "";
    const raw = this.json.substring(this.from + 1, this.to - 1);
    if (!raw.includes("\\")) return raw;
    let plain = "";
    for (let i = 0; i < raw.length; i++) {
      if (raw.charCodeAt(i) != BACKSLASH) {
        plain += raw.charAt(i);
        continue;
      }
      i++;
      const c = raw.charAt(i);
      if (c == "u") {
        plain += String.fromCharCode(<i32>parseInt(raw.substring(i + 1, i + 5), 16));
        i += 4;
      } else if (c == "b") plain += "\b";
      else if (c == "f") plain += "\f";
      else if (c == "n") plain += "\n";
      else if (c == "r") plain += "\r";
      else if (c == "t") plain += "\t";
      else plain += c;
    }
    return plain;
  }
}

function blanks(json: string, p: i32, end: i32): i32 {
  while (p < end && isBlank(json.charCodeAt(p))) p++;
  return p;
}

/** What is behind a value and its comma. */
function behind(json: string, p: i32, end: i32): i32 {
  p = blanks(json, p, end);
  return p < end && json.charCodeAt(p) == COMMA ? blanks(json, p + 1, end) : end;
}

function stringEnd(json: string, p: i32, end: i32): i32 {
  for (p++; p < end && json.charCodeAt(p) != QUOTE; p++) {
    if (json.charCodeAt(p) == BACKSLASH) p++;
  }
  return p < end ? p + 1 : end;
}

/** It counts brackets, so that nothing a server sends can be nested too deep. */
function valueEnd(json: string, p: i32, end: i32): i32 {
  let depth = 0;
  while (p < end) {
    const c = json.charCodeAt(p);
    if (c == QUOTE) {
      p = stringEnd(json, p, end);
    } else if (c == OPEN_OBJECT || c == OPEN_LIST) {
      depth++;
      p++;
      continue;
    } else if (c == CLOSE_OBJECT || c == CLOSE_LIST) {
      depth--;
      p++;
    } else if (depth > 0) {
      p++;
      continue;
    } else {
      while (p < end && !ends(json.charCodeAt(p))) p++;
    }
    if (depth == 0) break;
  }
  return p;
}

function ends(c: i32): bool {
  return c == COMMA || c == CLOSE_LIST || c == CLOSE_OBJECT || isBlank(c);
}

/** A text as a JSON string. */
export function quoted(text: string): string {
  let out = '"';
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c == QUOTE || c == BACKSLASH) out += "\\" + text.charAt(i);
    else if (c < 0x20) out += "\\u" + c.toString(16).padStart(4, "0");
    else out += text.charAt(i);
  }
  return out + '"';
}
