import { appendFileSync, mkdirSync } from 'node:fs'
import path from 'node:path'
import type { Command } from 'commander'
import { configSchema } from '../config.ts'
import { showUsd } from '../alert/render/money.ts'
import { demoAttribution } from '../demo/attribution.ts'
import { demoConfig, demoLogDirectory } from '../demo/config.ts'
import { liveTraffic, refuseOtherSeed, writeHistory } from '../demo/writer.ts'
import { fingerprint, hashKey } from '../ingest/fingerprint.ts'
import { redactText } from '../ingest/redact.ts'
import { isRollupCurrent } from '../ledger/rollup.ts'
import { UsageError } from '../runtime/errors.ts'
import { createLogger } from '../runtime/log.ts'
import { shutdownSignal } from '../runtime/shutdown.ts'
import { type Context, contextOf, DEMO_DATA_DIR } from './context.ts'
import { hasPassed } from './drain.ts'
import { command, type GlobalOptions, table } from './program.ts'
import { progressBar } from './progress-bar.ts'
import { positive } from './rejects.ts'
import { roleNames, runRoles } from './roles.ts'
import { serve, type Served } from './serve.ts'
import { openSystem, type System } from './system.ts'

export interface DemoOptions extends GlobalOptions {
  seed: number
  speed: number
  days: number
  incidents: boolean
}

export const demoCommand = (): Command =>
  command('demo', 'a made-up company: weeks of history, then live traffic with incidents, into its own data directory')
    .option('--seed <n>', 'the same seed is the same company', '1')
    .option('--speed <n>', 'incidents follow each other n times as fast', '1')
    .option('--days <n>', 'days of history', '21')
    .option('--no-incidents', 'ordinary traffic only: no alert is expected')
    .action((options: GlobalOptions & { seed: string; speed: string; days: string; incidents: boolean }) =>
      runDemo({ ...options, seed: positive(options.seed, '--seed'), speed: positive(options.speed, '--speed'), days: positive(options.days, '--days') }),
    )

export async function runDemo(options: DemoOptions): Promise<void> {
  const context = demoContext(options)
  if (options.config !== undefined) say('the demo brings its own config; --config is not read')
  const signal = shutdownSignal(context.log)
  const directory = demoLogDirectory(context.data_dir)
  refuseOtherSeed(directory, options.seed)
  // Before a line is written: two writers would both go on from the same place, and only the store knows that there is one owner.
  const system = await openSystem(context, signal)
  try {
    const server = await serveSomewhere(system)
    try {
      const lines = await writeLines(options, context, directory)
      say(`${lines.toLocaleString('en')} log lines of a made-up company in ${path.relative('.', directory)}; reading them as your own would be read`)
      const stop = new AbortController()
      const inner = AbortSignal.any([signal, stop.signal])
      const roles = runRoles(system, roleNames, inner)
      // A role that fails ends the demo with its reason; Ctrl-C ends both.
      await Promise.race([roles, show(system, options, server.url, lines, inner).then(() => roles)]).finally(() => stop.abort())
      await roles
    } finally {
      await server.close()
    }
  } finally {
    await system.close()
  }
  say('stopped; everything is kept, the next start goes on from here')
}

async function writeLines({ seed, days }: DemoOptions, { clock }: Context, directory: string): Promise<number> {
  const bar = progressBar('writing log lines  ')
  const { lines } = await writeHistory({ seed, days, until: clock.now(), directory, onProgress: ({ done }) => bar.update(done, 1) })
  bar.end()
  return lines
}

/** A newcomer's port 8787 may be taken, and the demo has no config in which another could be chosen. */
async function serveSomewhere(system: System): Promise<Served> {
  try {
    return await serve(system, roleNames)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    const { config } = system.context
    say(`${error.message.split(': another')[0]}, so the status page gets a free port`)
    return serve({ ...system, context: { ...system.context, config: { ...config, console: { ...config.console, listen: '127.0.0.1:0' } } } }, roleNames)
  }
}

const say = (line: string): void => void process.stdout.write(`${line}\n`)

/** The terminal belongs to the alerts, so the log goes to a file. */
function demoContext(options: DemoOptions): Context {
  const data_dir = path.resolve(options.dataDir ?? DEMO_DATA_DIR)
  mkdirSync(data_dir, { recursive: true })
  const bare = configSchema.parse({ data_dir })
  const key = hashKey(bare.privacy, data_dir)
  const attribution = demoAttribution((raw) => fingerprint(raw, key), options.seed)
  const config = configSchema.parse(demoConfig({ data_dir, attribution }))
  const log_file = path.join(data_dir, 'tokenwatch.log')
  const log = createLogger({ level: config.log.level, redact: redactText, write: (line) => appendFileSync(log_file, line) })
  return { ...contextOf(config, null, { dataDir: data_dir }), log }
}

async function show(system: System, options: DemoOptions, url: string | null, lines: number, signal: AbortSignal): Promise<void> {
  await loaded(system, lines, signal)
  if (signal.aborted) return
  say(`\nspend per team, last ${options.days} days\n${await spendTable(system)}`)
  say(`\nstatus page: ${url ?? 'not served'}\nin a second terminal: npx tokenwatch alerts list${options.dataDir === undefined ? '' : ` --data-dir ${options.dataDir}`}`)
  say(
    options.incidents
      ? '\nlive traffic flows now; the first incidents begin within seconds. Ctrl-C drains and exits.\n'
      : '\nlive traffic flows now, without incidents. Ctrl-C drains and exits.\n',
  )
  await liveTraffic(
    { seed: options.seed, speed: options.speed, incidents: options.incidents, clock: system.context.clock, directory: demoLogDirectory(system.context.data_dir) },
    signal,
  )
}

/** Until the collectors stand at the end of their files and the store has all of it. */
async function loaded({ bus, store, context: { clock, data_dir } }: System, lines: number, signal: AbortSignal): Promise<void> {
  const bar = progressBar('loading the history')
  const started_at = clock.now()
  const [base] = await store.query<{ rows: string }>(`SELECT count() AS rows FROM ${store.database}.usage_events`)
  while (!signal.aborted) {
    const [row] = await store.query<{ rows: string }>(`SELECT count() AS rows FROM ${store.database}.usage_events`)
    bar.update(Number(row?.rows ?? 0) - Number(base?.rows ?? 0), lines)
    const [behind] = await store.query<{ streams: string; scanned_to: string | null }>(
      // Streams of a directory that was moved since are never heard of again.
      `SELECT count() AS streams, toUnixTimestamp64Milli(min(scanned_to)) AS scanned_to FROM ${store.database}.collector_status WHERE startsWith(source_stream, {logs:String})`,
      { parameters: { logs: demoLogDirectory(data_dir) } },
    )
    const at_end = Number(behind?.streams ?? 0) > 0 && Number(behind?.scanned_to ?? 0) >= started_at
    if (at_end && (await hasPassed(bus, 'store', await bus.end_offsets(['usage.v1', 'secret-access.v1']))) && (await isRollupCurrent(store))) break
    await clock.sleep(200, signal)
  }
  bar.end()
}

async function spendTable({ store }: System): Promise<string> {
  const rows = await store.query<{ team: string; requests: string; input: string; output: string; usd: string | null }>(
    `SELECT team_id AS team, sum(requests) AS requests, sum(input_tokens) AS input, sum(output_tokens) AS output, toString(sum(spend_daily.cost_usd)) AS usd
     FROM ${store.database}.spend_daily GROUP BY team_id ORDER BY sum(cost_usd) DESC`,
  )
  const grouped = (digits: string) => Number(digits).toLocaleString('en')
  return table(
    ['team', 'requests', 'input tokens', 'output tokens', 'spend'],
    rows.map((row) => [row.team, grouped(row.requests), grouped(row.input), grouped(row.output), row.usd === null ? 'unpriced' : showUsd(row.usd)]),
  )
}
