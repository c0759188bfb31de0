/** The registry of sinks. A new one: a folder with index.ts, a line here and in the union; the contract test does the rest. */
import { z } from 'zod'
import type { AlertSink, SinkContext } from '../sink.ts'
import { emailConfig, emailSink } from './email/index.ts'
import { terminalConfig, terminalSink } from './terminal/index.ts'
import { webhookConfig, webhookSink } from './webhook/index.ts'

export const sinkSpecs = { terminal: terminalSink, email: emailSink, webhook: webhookSink } as const

export const sinkConfig = z.discriminatedUnion('kind', [terminalConfig, emailConfig, webhookConfig])
export type SinkConfig = z.infer<typeof sinkConfig>

/** Throws UsageError when a secret that the config names is not there. */
export function createSink(config: SinkConfig, context: SinkContext): AlertSink {
  if (config.kind === 'email') return emailSink.create(config, context)
  if (config.kind === 'webhook') return webhookSink.create(config, context)
  return terminalSink.create(config, context)
}

/** All sinks of the config by their names. Throws UsageError as createSink does. */
export const createSinks = (config: { sinks: Readonly<Record<string, SinkConfig>> }, context: SinkContext): Map<string, AlertSink> =>
  new Map(Object.entries(config.sinks).map(([name, entry]) => [name, createSink(entry, context)]))
