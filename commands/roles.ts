/** The loops of each role, wired from the config. One process may run all of them; they only meet on the bus and in the store. */
import { runDispatcher } from '../alert/dispatcher.ts'
import { runResponders } from '../alert/responses.ts'
import { createResponders } from '../alert/responders/index.ts'
import { createSinks } from '../alert/sinks/index.ts'
import { configuredDetectors, runnerOptions } from '../detect/index.ts'
import { runCollector } from '../ingest/collector.ts'
import { heldIn } from '../ingest/join-held.ts'
import { runJoin } from '../ingest/join.ts'
import { createSources } from '../ingest/sources/index.ts'
import { runRollup } from '../ledger/rollup.ts'
import { TransientError, UsageError } from '../runtime/errors.ts'
import { runDetectors } from '../stream/runner.ts'
import { runWriter } from '../store/writer.ts'
import { activeKeys } from './active-keys.ts'
import { blastRadius } from './blast-radius.ts'
import { createIngestPipeline } from './pipeline.ts'
import type { System } from './system.ts'

export const roleNames = ['collect', 'store', 'detect', 'alert', 'respond', 'console'] as const
export type Role = (typeof roleNames)[number]

/** "collect,store" → roles; throws UsageError for an unknown one. */
export function parseRoles(text: string | undefined): Role[] {
  if (text === undefined) return [...roleNames]
  return text.split(',').map((name) => {
    const role = roleNames.find((known) => known === name.trim())
    if (role === undefined) throw new UsageError(`unknown role "${name}"; roles: ${roleNames.join(', ')}`)
    return role
  })
}

type Loop = (system: System, signal: AbortSignal) => Promise<void>

const loops: Partial<Record<Role, Loop>> = {
  collect: async (system, signal) => {
    const { config, clock, log, file } = system.context
    const sources = await createSources(config.sources, { clock, log, file })
    const pipeline = createIngestPipeline(system)
    const shared = { pipeline, bus: system.bus, state: system.store.state, clock, log }
    const join = { ...shared, held: heldIn((sql) => system.store.query(sql)), options: config.join }
    await together([(inner) => runCollector({ ...shared, sources }, inner), (inner) => runJoin(join, inner)], signal)
  },
  store: async ({ bus, store, context: { clock, log } }, signal) => {
    await together([(inner) => runWriter({ bus, store, clock, log }, inner), (inner) => runRollup({ store, clock, log }, inner)], signal)
  },
  detect: async ({ bus, store, context: { config, clock, log } }, signal) => {
    await runDetectors({ bus, state: store.state, detectors: configuredDetectors(config.detectors), clock, log, options: runnerOptions(config.detectors) }, signal)
  },
  alert: async (system, signal) => {
    const { config, clock, log } = system.context
    const sinks = createSinks(config.alerts, { clock, log, console_url: config.console.public_url })
    const { bus, store } = system
    const lookups = { blastRadius: blastRadius(store, clock), activeKeys: activeKeys(store, clock) }
    await runDispatcher({ bus, alerts: config.alerts, responses: config.responses, sinks, console_url: config.console.public_url, ...lookups, clock, log }, signal)
  },
  respond: async ({ bus, context: { config, clock, log } }, signal) => {
    const responders = createResponders(config.responses, { clock, log, console_url: config.console.public_url })
    await runResponders({ bus, config: config.responses, responders, clock, log }, signal)
  },
}

/** Runs the loops of the roles until the signal aborts and they have drained. One that fails stops the others and rejects. */
export async function runRoles(system: System, roles: readonly Role[], signal: AbortSignal): Promise<void> {
  const chosen = roles.flatMap((role) => {
    const loop = loops[role]
    return loop ? [(inner: AbortSignal) => loop(system, inner)] : []
  })
  await together(chosen, signal)
}

/**
 * All or none: a loop that rejects aborts the others, and its error is the one that is told. A stop may catch a loop while it waits
 * for a bus or a store that is away: that is no failure, what it had in hand is not committed and comes again.
 */
async function together(loops: readonly ((signal: AbortSignal) => Promise<void>)[], signal: AbortSignal): Promise<void> {
  const stop = new AbortController()
  const inner = AbortSignal.any([signal, stop.signal])
  const results = await Promise.allSettled(
    loops.map(async (loop) => {
      try {
        await loop(inner)
      } catch (error) {
        if (inner.aborted && error instanceof TransientError) return
        stop.abort()
        throw error
      }
    }),
  )
  const failed = results.find((result) => result.status === 'rejected')
  if (failed) throw failed.reason
}
