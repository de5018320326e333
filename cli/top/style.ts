// Text with meaning, and how a terminal is told of it: in 256 colours, in 16, or in none.
import { fit, truncate } from '../format.js'
import stringWidth from 'string-width'

/** What a colour says. */
export type Tone = 'calm' | 'mild' | 'warm' | 'hot' | 'accent' | 'memory' | 'faint' | 'plain'

export interface Span {
  text: string
  tone?: Tone
  bold?: boolean
}

export type Line = readonly Span[]

/** What lies under a whole line. */
export type Ground = 'none' | 'selected' | 'bar'

export interface Look {
  /** As `WriteStream.getColorDepth()` says it: 1 for none. */
  colourBits: number
  /** Whether the terminal takes more than ASCII. */
  unicode: boolean
}

const tones: Record<Tone, { bits8: string; bits4: string; bits1: string }> = {
  calm: { bits8: '38;5;71', bits4: '32', bits1: '' },
  mild: { bits8: '38;5;143', bits4: '33', bits1: '' },
  warm: { bits8: '38;5;208', bits4: '93', bits1: '' },
  hot: { bits8: '38;5;203', bits4: '91', bits1: '' },
  accent: { bits8: '38;5;75', bits4: '96', bits1: '' },
  memory: { bits8: '38;5;140', bits4: '35', bits1: '' },
  faint: { bits8: '38;5;245', bits4: '90', bits1: '' },
  plain: { bits8: '', bits4: '', bits1: '' },
}

/** Of one without colours both are inverse. */
const grounds: Record<Ground, { bits8: string; bits4: string; bits1: string }> = {
  none: { bits8: '', bits4: '', bits1: '' },
  selected: { bits8: '48;5;238;38;5;255', bits4: '7', bits1: '7' },
  bar: { bits8: '48;5;236;38;5;250', bits4: '7', bits1: '7' },
}

const ascii: Record<string, string> = {
  '▁': '_',
  '▂': '.',
  '▃': ':',
  '▄': '-',
  '▅': '=',
  '▆': '+',
  '▇': '*',
  '█': '#',
  '━': '=',
  '╸': '-',
  '─': '.',
  '│': '|',
  '●': '*',
  '‖': '=',
  '○': 'o',
  '■': 'x',
  '▼': 'v',
  '▲': '^',
  '▌': '>',
  '↑': '^',
  '↓': 'v',
  '⏎': 'enter',
  '…': '~',
  '–': '-',
  '∞': '*',
  '·': '-',
}

function toAscii(text: string): string {
  return text.replace(/[^\u0000-\u007f]/gu, (char) => ascii[char] ?? '?')
}

function pick(of: { bits8: string; bits4: string; bits1: string }, bits: number): string {
  return bits >= 8 ? of.bits8 : bits >= 4 ? of.bits4 : of.bits1
}

/** Exactly `width` columns of a line, as bytes for a terminal. */
export function encode(line: Line, width: number, look: Look, ground: Ground = 'none'): string {
  const under = pick(grounds[ground], look.colourBits)
  // In 16 colours a colour on inverse ground is a ground itself.
  const flat = ground !== 'none' && look.colourBits < 8
  let out = ''
  let left = width
  for (const { text, tone = 'plain', bold } of line) {
    if (left <= 0) break
    const cut = truncate(text, left)
    const shown = look.unicode ? cut : toAscii(cut)
    left -= stringWidth(shown)
    const codes = [under, flat ? '' : pick(tones[tone], look.colourBits), bold ? '1' : ''].filter(
      (code) => code,
    )
    out += codes.length > 0 ? `\x1b[0;${codes.join(';')}m${shown}` : `\x1b[0m${shown}`
  }
  const rest = ' '.repeat(Math.max(0, left))
  return `${out}${under ? `\x1b[0;${under}m` : '\x1b[0m'}${rest}\x1b[0m`
}

/** A text that takes exactly `width` columns. */
export function cell(
  text: string,
  width: number,
  align: 'left' | 'right',
  tone: Tone = 'plain',
  bold = false,
): Span {
  return { text: fit(text, width, align), tone, bold }
}

export function columnsOf(line: Line): number {
  return line.reduce((sum, { text }) => sum + stringWidth(text), 0)
}

/** `left` and `right` on one line, apart; `right` is dropped where there is no room for both. */
export function spread(left: Line, right: Line, width: number): Line {
  const gap = width - columnsOf(left) - columnsOf(right)
  return gap < 1 ? left : [...left, { text: ' '.repeat(gap) }, ...right]
}

/** Of something that is bad when it is full. */
export function toneOfLoad(fraction: number): Tone {
  if (fraction >= 0.9) return 'hot'
  if (fraction >= 0.75) return 'warm'
  return fraction >= 0.5 ? 'mild' : 'calm'
}
