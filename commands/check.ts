import { accessSync, constants, existsSync } from 'node:fs'
import path from 'node:path'
import type { Command } from 'commander'
import { createSinks } from '../alert/sinks/index.ts'
import { createBus } from '../bus/index.ts'
import { createFormats } from '../ingest/formats/index.ts'
import { PermanentError } from '../runtime/errors.ts'
import { silentLogger } from '../runtime/log.ts'
import { openStore } from '../store/index.ts'
import { readRunFile } from '../store/owner.ts'
import { attempt, type Check } from './check-part.ts'
import { receiverChecks } from './check-receivers.ts'
import { sourceChecks } from './check-sources.ts'
import { type Context, loadContext } from './context.ts'
import { command, type GlobalOptions, print } from './program.ts'
import { openReader } from './reader.ts'
import { readBooks } from './system.ts'

const PROBE_TIMEOUT_MS = 10_000

export const checkCommand = (): Command =>
  command('check', 'config and plugins, offline')
    .option('--probe', 'asks each source, bus, store and sink whether it answers and says what is missing')
    .action(async (options: GlobalOptions & { probe?: boolean }) => {
      const context = loadContext(options)
      const checks = [...(await offline(context)), ...(options.probe ? await probe(context) : [])]
      const ok = checks.every((check) => check.ok)
      print(options, { ok, config: context.file, data_dir: context.data_dir, checks }, () =>
        checks.map(({ part, ok, detail }) => `${ok ? 'ok  ' : 'FAIL'} ${part}: ${detail}`).join('\n'),
      )
      if (!ok) process.exitCode = 1
    })

async function offline(context: Context): Promise<Check[]> {
  const { config, file } = context
  return [
    { part: 'config', ok: true, detail: file ?? 'the embedded default (no tokenwatch.yaml here)' },
    await attempt('prices and owners', () => {
      const { book, attribution } = readBooks(context)
      return `price book ${book.version}, ${attribution.length} owners`
    }),
    await attempt('formats', () =>
      createFormats(config.formats)
        .map((format) => format.id)
        .join(', '),
    ),
    {
      part: 'sources',
      ok: true,
      detail:
        config.sources.length === 0 ? 'none: nothing will be collected (ingest and receivers still work)' : config.sources.map(({ id, kind }) => `${id} (${kind})`).join(', '),
    },
    ...(await receiverChecks(context)),
    { part: 'responses', ok: true, detail: `policy ${config.responses.policy}` },
  ]
}

async function probe(context: Context): Promise<Check[]> {
  const { config, clock, log, file, data_dir } = context
  // Each has its own time: one that never answers must not make the others look broken.
  const within = (): AbortSignal => AbortSignal.timeout(PROBE_TIMEOUT_MS)
  const checks = [
    await attempt(`bus (${config.bus.kind})`, async () => {
      if (config.bus.kind === 'embedded' && !existsSync(path.join(data_dir, 'bus'))) return notMadeYet(data_dir)
      const bus = createBus(config.bus, context)
      try {
        await bus.ping(within())
        return 'answers'
      } finally {
        await bus.close()
      }
    }),
    await attempt(`store (${config.store.kind})`, () => storeAnswer(context, within())),
  ]
  checks.push(...(await sourceChecks(config.sources, { clock, log, file }, PROBE_TIMEOUT_MS)))
  for (const [name, sink] of createSinks(config.alerts, { clock, log, console_url: config.console.public_url })) {
    checks.push(
      await attempt(`sink ${name}`, async () => {
        if (!sink.probe) return 'has nothing to ask'
        await sink.probe(within())
        return 'answers'
      }),
    )
    await sink.close?.()
  }
  return checks
}

/** An embedded store answers through the process that owns it while there is one. */
async function storeAnswer(context: Context, signal: AbortSignal): Promise<string> {
  const { config, data_dir } = context
  const owner = config.store.kind === 'embedded' ? readRunFile(data_dir) : undefined
  if (owner) {
    const reader = await openReader(context)
    try {
      await reader.rows('SELECT 1')
      return `answers through the running tokenwatch (pid ${owner.pid})`
    } finally {
      await reader.close()
    }
  }
  if (config.store.kind === 'embedded' && !existsSync(path.join(data_dir, 'store'))) return notMadeYet(data_dir)
  const store = await openStore(config.store, { ...context, log: silentLogger, signal })
  try {
    await store.ping(signal)
    return 'answers'
  } finally {
    await store.close()
  }
}

/** A check makes nothing: an empty store left behind would be taken for an installation by the commands that look for one. */
function notMadeYet(data_dir: string): string {
  let folder = data_dir
  while (!existsSync(folder)) folder = path.dirname(folder)
  try {
    accessSync(folder, constants.W_OK | constants.X_OK)
  } catch {
    throw new PermanentError(`it would be made in ${data_dir}, but this user may not write in ${folder}: choose another data_dir, or change its owner`)
  }
  return `not made yet: the first start makes it in ${data_dir}`
}
