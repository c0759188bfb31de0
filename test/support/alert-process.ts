/** The alert role alone in a process of its own, for tests that kill it. Usage: alert-process.ts DIRECTORY CONFIG_JSON */
import { openEmbeddedBus } from '../../bus/embedded.ts'
import { alertsConfig, responsesConfig } from '../../alert/config.ts'
import { runDispatcher } from '../../alert/dispatcher.ts'
import { createSinks } from '../../alert/sinks/index.ts'
import { systemClock as clock } from '../../runtime/clock.ts'
import { createLogger } from '../../runtime/log.ts'
import { shutdownSignal } from '../../runtime/shutdown.ts'

const [directory = '', json = '{}'] = process.argv.slice(2)
const given = JSON.parse(json) as { alerts?: unknown; responses?: unknown }
const log = createLogger({ level: 'info' })
const signal = shutdownSignal(log)
const alerts = alertsConfig.parse(given.alerts ?? {})
const bus = openEmbeddedBus({ directory }, { clock, log })
await bus.prepare(signal)
await runDispatcher({ bus, alerts, responses: responsesConfig.parse(given.responses ?? {}), sinks: createSinks(alerts, { clock, log, console_url: null }), clock, log }, signal)
await bus.close()
