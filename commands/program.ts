/** What all commands share: global options, exit codes and how an error is shown. */
import { Command, CommanderError } from 'commander'
import { messageOf, UsageError } from '../runtime/errors.ts'
import { plainText } from '../runtime/text.ts'

export interface GlobalOptions {
  config?: string
  dataDir?: string
  json?: boolean
}

/** A command with the options that every command takes. */
export function command(name: string, summary: string): Command {
  return new Command(name)
    .description(summary)
    .option('--config <file>', 'configuration file (default: ./tokenwatch.yaml if it exists)')
    .option('--data-dir <dir>', 'where the embedded bus and store live; overrides data_dir')
    .option('--json', 'print one JSON document')
    .showSuggestionAfterError()
    .exitOverride()
}

/** A command that only holds others, such as `alerts`. Wrong use of it ends with 2 like everywhere else. */
export const group = (name: string, summary: string): Command => new Command(name).description(summary).showSuggestionAfterError().exitOverride()

/** Runs and ends the process; a command that must outlive its function (start) resolves only when it has drained. */
export async function runProgram(program: Command, argv: readonly string[]): Promise<never> {
  outliveReaders()
  try {
    await program.parseAsync([...argv])
    process.exit(process.exitCode ?? 0)
  } catch (error) {
    process.exit(report(error))
  }
}

/**
 * `tokenwatch query … | head` closes the pipe when it has enough. That is no failure of ours: nothing more is written, commands
 * end as they would have, and a `start` goes on watching although nobody reads its lines any more.
 */
function outliveReaders(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error
    })
  }
}

function report(error: unknown): number {
  if (error instanceof CommanderError) {
    // Help and version end with 0; commander has printed the rest.
    return error.exitCode === 0 ? 0 : 2
  }
  if (error instanceof UsageError) {
    for (const problem of error.problems) process.stderr.write(`${problem}\n`)
    return 2
  }
  process.stderr.write(`tokenwatch: ${messageOf(error)}${hintFor(error)}\n`)
  if (process.env['TOKENWATCH_DEBUG'] && error instanceof Error) process.stderr.write(`${error.stack}\n`)
  return 1
}

/** The system names the path and not what to do about it. */
function hintFor(error: unknown): string {
  const { code, path } = error as NodeJS.ErrnoException
  if (path === undefined || !['EACCES', 'EPERM', 'EROFS', 'ENOSPC'].includes(code ?? '')) return ''
  return code === 'ENOSPC' ? ' — free some space there' : ' — this user may not write there: choose another folder with --data-dir (or data_dir in the config), or change its owner'
}

/** One JSON document or text for people. */
export function print(options: GlobalOptions, document: unknown, text: () => string): void {
  process.stdout.write(options.json ? `${JSON.stringify(document, (_, value: unknown) => (typeof value === 'bigint' ? value.toString() : value), 2)}\n` : `${text()}\n`)
}

const CELL = 1000

/** Columns as wide as their widest cell; the last one is not padded. Cells are shown as plain text, whatever stands in them. */
export function table(header: readonly string[], given: readonly (readonly string[])[]): string {
  const rows = given.map((cells) => cells.map((cell) => plainText(cell, CELL)))
  const widths = header.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)))
  const line = (cells: readonly string[]) => cells.map((cell, column) => (column === cells.length - 1 ? cell : cell.padEnd(widths[column] ?? 0))).join('  ')
  return [line(header), ...rows.map(line)].join('\n')
}
