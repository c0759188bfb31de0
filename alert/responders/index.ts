/** The registry of responders. */
import { z } from 'zod'
import type { Responder } from '../responder.ts'
import type { SinkContext } from '../sink.ts'
import { webhookResponder, webhookResponderConfig } from './webhook/index.ts'

export const responderSpecs = { webhook: webhookResponder } as const

export const responderConfig = z.discriminatedUnion('kind', [webhookResponderConfig])
export type ResponderConfig = z.infer<typeof responderConfig>

/** Throws UsageError when a secret that the config names is not there. */
export const createResponder = (config: ResponderConfig, context: SinkContext): Responder => webhookResponder.create(config, context)

/** All responders of the config by their names. Throws UsageError as createResponder does. */
export const createResponders = (config: { responders: Readonly<Record<string, ResponderConfig>> }, context: SinkContext): Map<string, Responder> =>
  new Map(Object.entries(config.responders).map(([name, entry]) => [name, createResponder(entry, context)]))
