/** What a command starts from: the checked config, where data lives, a logger and the clock. */
import { existsSync } from 'node:fs'
import path from 'node:path'
import { type Config, configSchema } from '../config.ts'
import { redactText } from '../ingest/redact.ts'
import { type Clock, systemClock } from '../runtime/clock.ts'
import { parseConfig, readConfigFile } from '../runtime/config-file.ts'
import { UsageError } from '../runtime/errors.ts'
import { createLogger, type Logger } from '../runtime/log.ts'
import { readRunFile } from '../store/owner.ts'
import type { GlobalOptions } from './program.ts'

export const DEFAULT_CONFIG_FILE = 'tokenwatch.yaml'
export const DEFAULT_DATA_DIR = '.tokenwatch'
export const DEMO_DATA_DIR = path.join(DEFAULT_DATA_DIR, 'demo')

export interface Context {
  config: Config
  /** The config file, or null for the embedded default. Relative paths in a config are relative to its folder. */
  file: string | null
  data_dir: string
  clock: Clock
  log: Logger
}

/** The file that `--config` names, else ./tokenwatch.yaml if it is there, else none. */
export function configFile(options: GlobalOptions): string | null {
  if (options.config !== undefined) return options.config
  return existsSync(DEFAULT_CONFIG_FILE) ? DEFAULT_CONFIG_FILE : null
}

/** Throws UsageError with every problem of the file. */
export function loadContext(options: GlobalOptions): Context {
  const file = configFile(options)
  const config = file === null ? configSchema.parse({}) : parseConfig(configSchema, readConfigFile(file), file)
  return contextOf(config, file, options)
}

/**
 * The same for commands that only look: without a config and without --data-dir they find the demo, so that `npx tokenwatch
 * query …` beside `npm start` needs no option. An installation of its own here comes first, but not before a demo that runs.
 */
export function loadReadingContext(options: GlobalOptions): Context {
  if (options.dataDir !== undefined || configFile(options) !== null || !existsSync(DEMO_DATA_DIR)) return loadContext(options)
  const own = existsSync(path.join(DEFAULT_DATA_DIR, 'store'))
  const prefer_demo = readRunFile(DEMO_DATA_DIR) !== undefined && readRunFile(DEFAULT_DATA_DIR) === undefined
  return loadContext(own && !prefer_demo ? options : { ...options, dataDir: DEMO_DATA_DIR })
}

/**
 * For commands that look at what is there. An embedded directory that nobody has used yet is refused, not made: an empty answer
 * from a mistyped --data-dir, or from the wrong working directory, would read like "no alerts". A config file that names the
 * directory is believed: its first start may be under way.
 */
export function loadUsedContext(options: GlobalOptions, part: 'bus' | 'store'): Context {
  const context = loadReadingContext(options)
  const named = context.file !== null && options.dataDir === undefined
  if (named || context.config[part].kind !== 'embedded' || existsSync(path.join(context.data_dir, part))) return context
  throw new UsageError(
    `there is no data in ${context.data_dir} yet: run \`npx tokenwatch start\` or \`npx tokenwatch ingest\` first, or name another directory with --data-dir or --config`,
  )
}

export function contextOf(config: Config, file: string | null, options: GlobalOptions): Context {
  const base = file === null ? '.' : path.dirname(file)
  const data_dir = options.dataDir !== undefined ? path.resolve(options.dataDir) : path.resolve(base, config.data_dir)
  return { config, file, data_dir, clock: systemClock, log: createLogger({ level: config.log.level, redact: redactText }) }
}
