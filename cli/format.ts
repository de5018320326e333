// Figures and words for people: short, aligned, and free of what a terminal would obey.
import stringWidth from 'string-width'

export const unknown = '–'

/** Control characters of names and arguments, which come from containers, are shown and not obeyed. */
export function visible(text: string): string {
  return text.replace(
    /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
    (char) => {
      if (char === '\n') return '\\n'
      if (char === '\t') return '\\t'
      const code = char.charCodeAt(0)
      return code < 256 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16)}`
    },
  )
}

/** A command line, with quotes where a shell would want them. */
export function commandLine(args: readonly string[]): string {
  return visible(
    args
      .map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`))
      .join(' '),
  )
}

const segments = new Intl.Segmenter()

/** At most so many columns of it, with an ellipsis where something is left out. */
export function truncate(text: string, width: number): string {
  // Of ASCII alone, as most is, a character is a column.

  const plain = /^[\u0020-\u007e]*$/.test(text)
  if ((plain ? text.length : stringWidth(text)) <= width) return text
  if (width <= 0) return ''
  if (plain) return `${text.slice(0, width - 1)}…`
  let out = ''
  let used = 0
  for (const { segment } of segments.segment(text)) {
    const columns = stringWidth(segment)
    if (used + columns > width - 1) break
    out += segment
    used += columns
  }
  return `${out}…`
}

/** Exactly so many columns of it. */
export function fit(text: string, width: number, align: 'left' | 'right' = 'left'): string {
  const cut = truncate(text, width)
  const missing = ' '.repeat(Math.max(0, width - stringWidth(cut)))
  return align === 'left' ? cut + missing : missing + cut
}

const units = ['B', 'K', 'M', 'G', 'T', 'P', 'E']

/** At most six columns, powers of 1024: `512B`, `1.5M`, `128M`. */
export function bytes(value: number | null | undefined): string {
  if (value === null) return '∞'
  if (value === undefined) return unknown
  let rest = value
  let unit = 0
  while (rest >= 999.5 && unit < units.length - 1) {
    rest /= 1024
    ++unit
  }
  return `${unit > 0 && rest < 99.95 ? rest.toFixed(1) : Math.round(rest)}${units[unit]}`
}

export function percent(value: number | null | undefined): string {
  if (value === null || value === undefined) return unknown
  return value < 999.95 ? value.toFixed(1) : String(Math.round(value))
}

/** Two units at most: `42s`, `5m12s`, `3h05m`, `12d04h`. */
export function duration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  const two = (value: number): string => String(value).padStart(2, '0')
  if (seconds < 60) return `${seconds}s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes}m${two(seconds % 60)}s`
  const hours = Math.floor(minutes / 60)
  if (hours < 24) return `${hours}h${two(minutes % 60)}m`
  const days = Math.floor(hours / 24)
  return days < 1000 ? `${days}d${two(hours % 24)}h` : `${days}d`
}

export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? unknown : String(value)
}

export interface TableColumn {
  title: string
  align?: 'left' | 'right'
}

/** Lines of aligned columns, two spaces apart; on a terminal the last column gives way to its width. */
export function table(
  columns: readonly TableColumn[],
  rows: readonly (readonly string[])[],
  limit?: number,
): string {
  const lines = [columns.map(({ title }) => title), ...rows]
  const widths = columns.map((_, at) => Math.max(...lines.map((line) => stringWidth(line[at] as string))))
  return lines
    .map((line) => {
      const text = line
        .map((cell, at) => {
          const { align = 'left' } = columns[at] as TableColumn
          return at === columns.length - 1 && align === 'left' ? cell : fit(cell, widths[at] as number, align)
        })
        .join('  ')
        .trimEnd()
      return `${limit === undefined ? text : truncate(text, limit)}\n`
    })
    .join('')
}
