/** Writes one line per notification to the terminal. "Accepted" means: the stream took it. */
import { z } from 'zod'
import { lineOf } from '../../render/line.ts'
import type { AlertSink, SinkSpec } from '../../sink.ts'

export const terminalConfig = z
  .strictObject({
    kind: z.literal('terminal'),
    stream: z.enum(['stdout', 'stderr']).default('stdout').describe('where the lines go'),
  })
  .describe('One line per alert on the terminal')
export type TerminalConfig = z.infer<typeof terminalConfig>

export const terminalSink: SinkSpec<TerminalConfig> = {
  id: 'terminal',
  summary: 'One line per alert on the terminal; colours only where a person looks, NO_COLOR is respected.',
  config: terminalConfig,
  example: { kind: 'terminal' },
  create: (config) => {
    const stream = config.stream === 'stderr' ? process.stderr : process.stdout
    return createTerminalSink(stream, stream.isTTY && (process.env['NO_COLOR'] ?? '') === '')
  },
}

export interface LineWriter {
  write(text: string, done: (error?: Error | null) => void): boolean
}

export function createTerminalSink(stream: LineWriter, colour: boolean): AlertSink {
  return {
    send: (notification) =>
      new Promise((resolve) => {
        stream.write(lineOf(notification, colour), (error) =>
          resolve(error ? { outcome: 'permanent', error: `the terminal cannot be written to: ${error.message}` } : { outcome: 'accepted' }),
        )
      }),
  }
}
