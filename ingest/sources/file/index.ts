/** Source `file`: exported and growing logs on disk, and standard input. */
import { existsSync, globSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { z } from 'zod'
import { duration } from '../../../runtime/duration.ts'
import { UsageError } from '../../../runtime/errors.ts'
import type { Source, SourceContext, SourceSpec } from '../../source.ts'
import { containerKinds } from './container.ts'
import { follow } from './follow.ts'
import type { FileCheckpoint } from './identity.ts'
import { openFile, readInput, readOnce } from './read.ts'
import { standardInput } from './stdin.ts'

const config = z.strictObject({
  paths: z.array(z.string().min(1)).min(1).describe('files or patterns (logs/*.jsonl); - is standard input. Relative to the folder of the config'),
  follow: z.boolean().default(false).describe('go on with what is appended, through rotation and truncation; false: read to the end once'),
  poll: duration.prefault('1s').describe('how often a followed file is looked at'),
  container: z
    .enum(containerKinds)
    .default('auto')
    .describe('lines: one record a line; json: an array, {"Records":[…]} or pretty-printed values; csv: with a header. auto: told by the first bytes'),
})
export type FileConfig = z.infer<typeof config>

export const file: SourceSpec<FileConfig> & { config: typeof config } = {
  id: 'file',
  summary: 'JSON lines, JSON arrays, {"Records":[…]}, CloudWatch envelopes, CSV, .gz of each',
  config,
  example: { paths: ['/var/log/llm-gateway/*.jsonl'], follow: true },
  create: (options, context) => pathsOf(options.paths, context).map((path) => fileSource(path, options, context)),
}

/** One finite source for each file of a command line; throws UsageError for a name that matches nothing. */
export async function fileSources(paths: readonly string[], context: Pick<SourceContext, 'clock' | 'log'>): Promise<(Source<unknown> & { id: string; kind: string })[]> {
  const options = config.parse({ paths: [...paths] })
  return pathsOf(paths, { ...context, file: null }, true).map((path) => ({ id: 'ingest', kind: file.id, ...fileSource(path, options, context) }))
}

function fileSource(path: string, options: FileConfig, { clock, log }: SourceContext): Source<unknown> {
  return {
    stream: path,
    read: (after, signal) => {
      // What was stored is what `next` was: our own value, JSON there and back.
      const checkpoint = after as FileCheckpoint | undefined
      if (path === '-') return readInput(standardInput(), { container: options.container, log }, signal)
      return options.follow
        ? follow(path, checkpoint, { container: options.container, log, clock, poll_ms: options.poll }, signal)
        : readOnce(path, checkpoint, { container: options.container, log }, signal)
    },
    probe: async () => {
      if (path !== '-') await (await openFile(path)).close()
    },
  }
}

/**
 * Patterns are expanded here, once: a file that appears later is found at the next start. A plain name need not exist yet for
 * a configured source (it is blind until it does); on a command line (`must_match`) it must.
 */
function pathsOf(patterns: readonly string[], { file: config_file, log }: Omit<SourceContext, 'clock'>, must_match = false): string[] {
  const base = config_file === null || config_file === undefined ? process.cwd() : dirname(resolve(config_file))
  const paths = patterns.flatMap((pattern) => {
    if (pattern === '-') return ['-']
    // A file name may hold the characters of a pattern; then it means itself.
    if (existsSync(resolve(base, pattern))) return [resolve(base, pattern)]
    const found = globSync(pattern, { cwd: base })
      .map((path) => resolve(base, path))
      .sort()
    if (found.length > 0) return found
    if (must_match) throw new UsageError(`no such file: ${pattern}`)
    if (/[*?[\]{}]/.test(pattern)) {
      log.warn('a pattern matches no file', { pattern })
      return []
    }
    return [resolve(base, pattern)]
  })
  return [...new Set(paths)]
}
