import type { Command } from 'commander'
import { isoTime } from '../runtime/clock.ts'
import { TransientError, UsageError } from '../runtime/errors.ts'
import { shutdownSignal } from '../runtime/shutdown.ts'
import { configFile, DEFAULT_CONFIG_FILE, loadContext } from './context.ts'
import { runDemo } from './demo.ts'
import { command, type GlobalOptions } from './program.ts'
import { reloadOnHangup } from './reload.ts'
import { parseRoles, type Role, roleNames, runRoles } from './roles.ts'
import { serve } from './serve.ts'
import { openSystem } from './system.ts'

export const startCommand = (): Command =>
  command('start', 'runs; all roles in one process unless named. Without a config: the demo')
    .option('--role <list>', `comma-separated: ${roleNames.join(', ')}`)
    .action(async (options: GlobalOptions & { role?: string }) => {
      const roles = parseRoles(options.role)
      if (configFile(options) === null) {
        if (options.role !== undefined) throw new UsageError(`--role needs a config: write ${DEFAULT_CONFIG_FILE} (examples/tokenwatch.yaml is a start) or name one with --config`)
        process.stdout.write(`no ${DEFAULT_CONFIG_FILE} here, so this is the demo: a made-up company on your own machine\n`)
        return runDemo({ ...options, seed: 1, speed: 1, days: 21, incidents: true })
      }
      await run(options, roles)
    })

async function run(options: GlobalOptions, roles: readonly Role[]): Promise<void> {
  const context = loadContext(options)
  const signal = shutdownSignal(context.log)
  const system = await openSystem(context, signal).catch((error: unknown) => {
    // Stopped while it waited for a bus or a store: nothing had begun, so nothing is left undone.
    if (signal.aborted && error instanceof TransientError) return undefined
    throw error
  })
  if (system === undefined) return
  const stopReloading = reloadOnHangup(system, options)
  try {
    const server = await serve(system, roles)
    try {
      context.log.info('running', { roles: roles.join(','), url: server.url, since: isoTime(context.clock.now()) })
      await runRoles(system, roles, signal)
    } finally {
      await server.close()
    }
  } finally {
    stopReloading()
    await system.close()
  }
}
