/** The registry of commands. */
import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { alertsCommand } from './alerts.ts'
import { checkCommand } from './check.ts'
import { demoCommand } from './demo.ts'
import { fingerprintCommand } from './fingerprint.ts'
import { ingestCommand } from './ingest.ts'
import { queryCommand } from './query.ts'
import { rejectsCommand } from './rejects.ts'
import { responsesCommand } from './responses.ts'
import { startCommand } from './start.ts'

export function buildProgram(): Command {
  const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
  const program = new Command('tokenwatch')
    .description("the watch over a company's LLM keys: who spent what with which key, abuse told in seconds, keys shut down safely")
    .version(manifest.version)
    .showSuggestionAfterError()
    .exitOverride()
  for (const build of [startCommand, demoCommand, ingestCommand, checkCommand, queryCommand, alertsCommand, responsesCommand, fingerprintCommand, rejectsCommand])
    program.addCommand(build())
  return program
}
