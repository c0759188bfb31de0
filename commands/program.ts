/** What all commands share: global options, exit codes and how an error is shown. */
import { Command, CommanderError } from 'commander'
import { messageOf, UsageError } from '../runtime/errors.ts'

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

/** Runs and ends the process; a command that must outlive its function (start) resolves only when it has drained. */
export async function runProgram(program: Command, argv: readonly string[]): Promise<never> {
  try {
    await program.parseAsync([...argv])
    process.exit(process.exitCode ?? 0)
  } catch (error) {
    process.exit(report(error))
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
  process.stderr.write(`tokenwatch: ${messageOf(error)}\n`)
  if (process.env['TOKENWATCH_DEBUG'] && error instanceof Error) process.stderr.write(`${error.stack}\n`)
  return 1
}

/** One JSON document or text for people. */
export function print(options: GlobalOptions, document: unknown, text: () => string): void {
  process.stdout.write(options.json ? `${JSON.stringify(document, (_, value: unknown) => (typeof value === 'bigint' ? value.toString() : value), 2)}\n` : `${text()}\n`)
}

/** Columns as wide as their widest cell; the last one is not padded. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)))
  const line = (cells: readonly string[]) => cells.map((cell, column) => (column === cells.length - 1 ? cell : cell.padEnd(widths[column] ?? 0))).join('  ')
  return [line(header), ...rows.map(line)].join('\n')
}
