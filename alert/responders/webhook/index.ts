/**
 * Hands an approved command to somebody else: a signed POST with the body of `commands.v1`. What the receiver does with it can
 * not be read back from here, so the state stays `unknown` until the traffic of the target stops.
 */
import { z } from 'zod'
import { HttpOutError } from '../../../runtime/http-out.ts'
import { nameUuid } from '../../../runtime/ids.ts'
import type { Command } from '../../../schemas/commands.ts'
import type { Responder, ResponderReceipt, ResponderSpec } from '../../responder.ts'
import { createEndpoint, type Endpoint, endpointFields } from '../../webhook/endpoint.ts'

export const webhookResponderConfig = z
  .strictObject({
    kind: z.literal('webhook'),
    ...endpointFields,
    actions: z.array(z.string()).default([]).describe('actions that this receiver carries out; empty: all'),
    targets: z.array(z.string()).default([]).describe('kinds of targets, for example api-key; empty: all'),
  })
  .describe('Hands approved commands on, signed')
export type WebhookResponderConfig = z.infer<typeof webhookResponderConfig>

export const webhookResponder: ResponderSpec<WebhookResponderConfig> = {
  id: 'webhook',
  summary: 'Hands approved commands on as a signed webhook; webhook-id is the command id, so a receiver can act once.',
  config: webhookResponderConfig,
  example: { kind: 'webhook', url: 'https://hooks.example.com/shutdown', secret: { env: 'TOKENWATCH_RESPONDER_SECRET' } },
  create: (config, context): Responder => {
    const endpoint = createEndpoint(config, context, 'responses.responders webhook')
    return {
      plan: async (target) =>
        config.targets.length > 0 && !config.targets.includes(target.kind)
          ? []
          : (config.actions.length > 0 ? config.actions : [ANY_ACTION]).map((action) => ({
              action,
              level: 1,
              target,
              undo: 'manual',
              summary: `hand "${action === ANY_ACTION ? 'the action' : action}" on to the receiver`,
            })),
      execute: (_rung, command, signal) => {
        const { command_id, alert_id, action } = command
        return handOn(endpoint, command_id, JSON.stringify(command), JSON.stringify({ command_id, alert_id, action }), signal)
      },
      read_back: async () => 'unknown',
      undo: (rung, receipt, signal) => {
        const command = receipt.undo_token === undefined ? undefined : (JSON.parse(receipt.undo_token) as Pick<Command, 'command_id' | 'alert_id' | 'action'>)
        if (command === undefined) return Promise.resolve({ outcome: 'refused', detail: 'the receipt of this command holds nothing to undo it with' })
        return handOn(endpoint, nameUuid(command.command_id, 'undo'), JSON.stringify({ ...command, target: rung.target, undo: true }), undefined, signal)
      },
    }
  },
}

/** A receiver without a list of actions takes whatever was approved. */
export const ANY_ACTION = '*'

async function handOn(endpoint: Endpoint, id: string, body: string, undoToken: string | undefined, signal: AbortSignal): Promise<ResponderReceipt> {
  try {
    const { status } = await endpoint.post(id, body, signal)
    if (status >= 200 && status < 300)
      return { outcome: 'executed', detail: `the receiver took it (HTTP ${status})`, ...(undoToken === undefined ? {} : { undo_token: undoToken }) }
    if (status >= 500 || status === 408 || status === 429) return { outcome: 'unknown', detail: `the receiver answered ${status}: look there before you try again` }
    return { outcome: 'refused', detail: `the receiver refused it with ${status}` }
  } catch (error) {
    if (!(error instanceof HttpOutError)) throw error
    return { outcome: error.sent ? 'unknown' : 'refused', detail: error.message }
  }
}
