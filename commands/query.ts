import type { Command } from 'commander'
import { loadUsedContext } from './context.ts'
import { command, type GlobalOptions } from './program.ts'
import { openReader } from './reader.ts'

export const queryCommand = (): Command =>
  command('query', 'read-only SQL on the store, embedded or remote')
    .argument('<sql>', 'one SELECT; the views are described in docs/reference.md')
    .option('--format <name>', 'any ClickHouse output format (default: PrettyCompact on a terminal, else TSVWithNames; JSON with --json)')
    .action(async (sql: string, options: GlobalOptions & { format?: string }) => {
      const reader = await openReader(loadUsedContext(options, 'store'))
      try {
        const format = options.format ?? (options.json ? 'JSON' : process.stdout.isTTY ? 'PrettyCompactMonoBlock' : 'TSVWithNames')
        for await (const chunk of reader.read(sql, format)) if (!(await written(chunk))) break
      } finally {
        await reader.close()
      }
    })

/** False: whoever read our output has gone, so the rest need not be fetched. Waits for a reader that is slower than the store. */
const written = (chunk: Uint8Array): Promise<boolean> => new Promise((resolve) => process.stdout.write(chunk, (error) => resolve(!error)))
