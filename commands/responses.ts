import type { Command } from 'commander'
import { decideResponse, listResponses } from '../alert/actions.ts'
import { isoTime } from '../runtime/clock.ts'
import type { Response } from '../schemas/responses.ts'
import { withBus } from './alerts.ts'
import { person } from './people.ts'
import { command, type GlobalOptions, group, print, table } from './program.ts'

export const responsesCommand = (): Command =>
  group('responses', 'proposed and running shutdowns')
    .addCommand(list())
    .addCommand(decide('approve', 'issues the shutdown command, if policy, limits and age allow it'))
    .addCommand(decide('deny', 'closes the proposal'))
    .addCommand(decide('undo', 'asks the responder to take the shutdown back'))

const list = (): Command =>
  command('list', 'the last step of each response, the newest first').action((options: GlobalOptions) =>
    withBus(options, async (bus) => {
      const responses = await listResponses(bus)
      print(options, responses, () => (responses.length === 0 ? 'no responses' : table(['id', 'at', 'step', 'mode', 'action', 'target', 'who', 'detail'], responses.map(row))))
    }),
  )

const row = (response: Response): string[] => [
  response.response_id.slice(0, 8),
  isoTime(response.at).slice(0, 19),
  response.step,
  response.dry_run ? 'dry-run' : response.policy,
  response.action,
  `${response.target.provider} ${response.target.kind} ${response.target.id}`,
  response.who,
  response.detail ?? response.why ?? '',
]

const decide = (act: 'approve' | 'deny' | 'undo', summary: string): Command =>
  command(act, summary)
    .argument('<id>', 'response id, or its first characters')
    .option('--why <text>', 'kept with the decision')
    .option('--who <name>', 'default: the user of this machine; must be in responses.people to approve')
    .action((id: string, options: GlobalOptions & { why?: string; who?: string }) =>
      withBus(options, async (bus, { clock }) => {
        const action = await decideResponse(bus, act, { id, who: person(options.who), why: options.why ?? null, now: clock.now() })
        print(options, action, () => `${act} of ${action.response_id} by ${action.who} recorded; follow it with: npx tokenwatch responses list`)
      }),
    )
