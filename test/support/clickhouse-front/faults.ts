/** Faults on order: POST /__control with a list replaces the list, GET tells how many requests came and which faults are left. */
import type { IncomingMessage, ServerResponse } from 'node:http'

export interface Fault {
  /**
   * refuse: 503. drop-before: the connection breaks before the statement runs. drop-after: it ran, the answer is lost.
   * delay: answers `ms` later. mid-stream: breaks in the middle of the answer.
   */
  kind: 'refuse' | 'drop-before' | 'drop-after' | 'delay' | 'mid-stream'
  /** How many requests it hits; default 1. */
  times?: number
  /** Only statements that this regular expression matches. */
  match?: string
  ms?: number
}

export function faultList() {
  let list: (Fault & { times: number })[] = []
  let requests = 0
  return {
    next(sql: string): Fault | undefined {
      requests += 1
      const fault = list.find((candidate) => candidate.times > 0 && (candidate.match === undefined || new RegExp(candidate.match, 'i').test(sql)))
      if (fault !== undefined) fault.times -= 1
      return fault
    },
    async control(message: IncomingMessage, response: ServerResponse): Promise<void> {
      if (message.method === 'POST') {
        let text = ''
        for await (const chunk of message) text += String(chunk)
        list = (JSON.parse(text) as Fault[]).map((fault) => ({ ...fault, times: fault.times ?? 1 }))
      }
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify({ requests, faults: list }))
    },
  }
}
