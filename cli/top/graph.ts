// Small graphs of block characters.
import type { Line, Span, Tone } from './style.js'

const blocks = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'] as const

type ToneOf = (fraction: number) => Tone

/** Neighbours of one tone in one span: there are many of them on a screen. */
function join(spans: Iterable<Span>): Span[] {
  const out: Span[] = []
  for (const span of spans) {
    const last = out.at(-1)
    if (last && last.tone === span.tone) last.text += span.text
    else out.push({ ...span })
  }
  return out
}

function fractionOf(value: number, max: number): number {
  return max > 0 ? Math.min(1, Math.max(0, value / max)) : 0
}

/** The last values, the newest at the right, one column each. */
export function spark(values: readonly number[], width: number, max: number, toneOf: ToneOf): Line {
  const shown = values.slice(-width)
  const spans: Span[] = [{ text: ' '.repeat(Math.max(0, width - shown.length)), tone: 'faint' }]
  for (const value of shown) {
    const fraction = fractionOf(value, max)
    const level = Math.round(fraction * 8)
    // Nothing, and almost nothing, stay on the ground; only what is something has a colour.
    spans.push(
      level === 0
        ? { text: blocks[0], tone: 'faint' }
        : { text: blocks[level - 1] as string, tone: toneOf(fraction) },
    )
  }
  return join(spans)
}

/** A bar that is full at 1. */
export function bar(fraction: number, width: number, tone: Tone): Line {
  const halves = Math.round(Math.min(1, Math.max(0, fraction)) * width * 2)
  const whole = Math.floor(halves / 2)
  const filled = '━'.repeat(whole) + (halves % 2 === 1 ? '╸' : '')
  return [
    { text: filled, tone },
    { text: '─'.repeat(width - filled.length), tone: 'faint' },
  ]
}

/** As spark, over several lines, the first one uppermost. */
export function area(
  values: readonly number[],
  width: number,
  height: number,
  max: number,
  toneOf: ToneOf,
): Line[] {
  const shown = values.slice(-width)
  const indent = ' '.repeat(Math.max(0, width - shown.length))
  return Array.from({ length: height }, (_, row) => {
    const below = height - 1 - row
    const spans = shown.map((value): Span => {
      const fraction = fractionOf(value, max)
      const level = Math.round(fraction * height * 8) - below * 8
      if (level <= 0)
        return row === height - 1 ? { text: blocks[0], tone: 'faint' } : { text: ' ', tone: 'faint' }
      return { text: blocks[Math.min(8, level) - 1] as string, tone: toneOf(fraction) }
    })
    return join([{ text: indent, tone: 'faint' }, ...spans])
  })
}
