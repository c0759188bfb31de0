import type { Command } from 'commander'
import type { Bus } from '../bus/bus.ts'
import { createBus } from '../bus/index.ts'
import { type IngestSummary, runIngest } from '../ingest/collector.ts'
import { builtinFormats } from '../ingest/formats/index.ts'
import { heldIn } from '../ingest/join-held.ts'
import { fileSources } from '../ingest/sources/file/index.ts'
import { claimInput } from '../ingest/sources/file/stdin.ts'
import { isRollupCurrent } from '../ledger/rollup.ts'
import { monotonicMs } from '../runtime/clock.ts'
import { parseDuration } from '../runtime/duration.ts'
import { UsageError } from '../runtime/errors.ts'
import { freshUuid } from '../runtime/ids.ts'
import { shutdownSignal } from '../runtime/shutdown.ts'
import type { TopicName } from '../schemas/topics.ts'
import { readRunFile } from '../store/owner.ts'
import { type Context, loadContext } from './context.ts'
import { drain, endsOf, hasPassed } from './drain.ts'
import { countingBus } from './counting-bus.ts'
import { createIngestPipeline } from './pipeline.ts'
import { command, type GlobalOptions, print } from './program.ts'
import { openReader, type Reader, storeReader } from './reader.ts'
import { runRoles } from './roles.ts'
import { openSystem, readBooks, type System } from './system.ts'

const STORED: readonly TopicName[] = ['usage.v1', 'secret-access.v1', 'credential-change.v1', 'rejects.v1']

type Options = GlobalOptions & { format: string; timeout: string }

export const ingestCommand = (): Command =>
  command('ingest', 'sends exported logs through the whole pipeline and returns when store, detectors and alerts have drained')
    .argument('<files...>', 'JSON lines, a JSON array, {"Records":[…]}, CloudWatch envelopes, CSV with a header, .gz of each, - for stdin')
    .option('--format <id>', `auto, or one of ${builtinFormats().join(', ')}`, 'auto')
    .option('--timeout <duration>', 'how long to wait for the drain', '10m')
    .action(async (files: string[], options: Options) => {
      claimInput(files.includes('-'))
      const context = loadContext(options)
      const timeout_ms = parseDuration(options.timeout)
      if (timeout_ms === undefined) throw new UsageError(`--timeout takes a duration such as 90s or 10m, not "${options.timeout}"`)
      const signal = shutdownSignal(context.log)
      const outcome = await ingest(context, files, { ...options, timeout_ms }, signal)
      print(options, outcome, () => summaryText(outcome))
    })

/** What `ingest --json` prints. */
interface Outcome extends IngestSummary {
  duplicates: number
  alerts: number
  duration_ms: number
}

interface Parts {
  system: Pick<System, 'context' | 'bus' | 'book' | 'attribution'>
  reader: Reader
  /** Settles when the roles that this process runs end before they should. */
  roles: Promise<void> | null
  close(): Promise<void>
}

async function ingest(context: Context, files: string[], options: Options & { timeout_ms: number }, signal: AbortSignal): Promise<Outcome> {
  const started_at = monotonicMs()
  const parts = await openParts(context, signal)
  try {
    const run_id = freshUuid()
    const { system, reader } = parts
    const counting = countingBus(system.bus, reader)
    const pipeline = createIngestPipeline(system, options.format === 'auto' ? undefined : [options.format])
    const sources = await fileSources(files, context)
    const summary = await runIngest({ sources, pipeline, bus: counting.bus, held: heldIn((sql) => reader.rows(sql)), run_id, clock: context.clock, log: context.log }, signal)
    const drained = drainRun(system.bus, reader, run_id, context, options.timeout_ms, signal)
    await (parts.roles ? Promise.race([drained, parts.roles.then(() => drained)]) : drained)
    const accepted_events = summary.events.usage + summary.events.secret_access + summary.events.credential_change
    return {
      ...summary,
      duplicates: accepted_events - (await counting.newEvents()),
      alerts: await alertsOfRun(reader, run_id),
      duration_ms: Math.round(monotonicMs() - started_at),
    }
  } finally {
    await parts.close()
  }
}

/** Everything in this process, or, while another one owns the embedded store, only the bus beside it. */
async function openParts(context: Context, signal: AbortSignal): Promise<Parts> {
  if (context.config.store.kind === 'embedded' && readRunFile(context.data_dir)) {
    const bus = createBus(context.config.bus, context)
    const reader = await openReader(context)
    return { system: { context, bus, ...readBooks(context) }, reader, roles: null, close: async () => void (await Promise.allSettled([reader.close(), bus.close()])) }
  }
  const system = await openSystem(context, signal)
  const served = (await system.bus.members('store')) > 0
  const stop = new AbortController()
  const roles = served ? null : runRoles(system, ['store', 'detect', 'alert', 'respond'], AbortSignal.any([signal, stop.signal]))
  // The race in ingest() sees a failure; without it a rejection while files are still read would end the process unexplained.
  roles?.catch(() => {})
  const close = async () => {
    stop.abort()
    await roles?.catch(() => {})
    await system.close()
  }
  return { system, reader: storeReader(system.store), roles, close }
}

async function drainRun(bus: Bus, reader: Reader, run_id: string, context: Context, timeout_ms: number, signal: AbortSignal): Promise<void> {
  const stored = await endsOf(bus, STORED)
  const ends = { findings: stored.slice(0, 0), alerts: stored.slice(0, 0) }
  const passed = (group: string, topics: readonly TopicName[], key: keyof typeof ends) => async () => {
    if (ends[key].length === 0) ends[key] = await endsOf(bus, topics)
    return hasPassed(bus, group, ends[key])
  }
  await drain(
    [
      { what: 'the store (role store)', reached: () => hasPassed(bus, 'store', stored) },
      { what: 'the rollup (role store)', reached: () => isRollupCurrent({ query: (sql) => reader.rows(sql), database: context.config.store.database }) },
      {
        what: 'the detectors (role detect)',
        reached: async () => (await reader.rows(`SELECT key FROM state FINAL WHERE scope = 'detect-runs' AND key = '${run_id}' AND NOT deleted`)).length > 0,
      },
      { what: 'the alerts (role alert)', reached: passed('alert', ['findings.v1'], 'findings') },
      { what: 'the first attempt of each alert (role alert)', reached: passed('alert-delivery', ['alerts.v1'], 'alerts') },
      { what: 'the alerts in the store (role store)', reached: async () => hasPassed(bus, 'store', await endsOf(bus, ['alerts.v1', 'deliveries.v1', 'findings.v1'])) },
    ],
    timeout_ms,
    context.clock,
    signal,
  )
}

async function alertsOfRun(reader: Reader, run_id: string): Promise<number> {
  const [row] = await reader.rows<{ alerts: string }>(`SELECT count() AS alerts FROM alerts WHERE run_id = '${run_id}'`)
  return Number(row?.alerts ?? 0)
}

function summaryText(outcome: Outcome): string {
  const reasons = (counts: Record<string, number>) =>
    Object.entries(counts)
      .map(([why, count]) => `${count} ${why}`)
      .join(', ') || 'none'
  return [
    `${outcome.records} records: ${outcome.accepted} accepted, ${sum(outcome.skipped)} skipped, ${sum(outcome.rejected)} rejected`,
    `skipped:  ${reasons(outcome.skipped)}`,
    `rejected: ${reasons(outcome.rejected)}${sum(outcome.rejected) > 0 ? ' (npx tokenwatch rejects list)' : ''}`,
    `events:   ${outcome.events.usage} usage, ${outcome.events.secret_access} secret accesses, ${outcome.events.credential_change} credential changes; ${outcome.duplicates} were known already`,
    `alerts:   ${outcome.alerts} (stored as backfill: they page nobody; npx tokenwatch alerts list --all)`,
    `took ${(outcome.duration_ms / 1000).toFixed(1)} s`,
  ].join('\n')
}

const sum = (counts: Record<string, number>): number => Object.values(counts).reduce((total, count) => total + count, 0)
