/** Turns the config into the questions that the lifecycle and the proposals ask. Patterns are exact texts or have * for any characters. */
import type { Alert } from '../schemas/alerts.ts'
import type { Target } from '../schemas/responses.ts'
import type { AlertsConfig, ResponsesConfig } from './config.ts'
import { type LifecyclePolicy, severityAtLeast } from './lifecycle.ts'

export function lifecyclePolicy(config: AlertsConfig): LifecyclePolicy {
  const everybody = Object.keys(config.sinks)
  const silences = config.silences.map((silence) => ({
    ...silence,
    begins: silence.from === undefined ? 0 : Date.parse(silence.from),
    ends: silence.until === undefined ? Infinity : Date.parse(silence.until),
  }))
  return {
    resolve_after_ms: config.resolve_after,
    repeat_after_ms: config.repeat_after === 'never' ? null : config.repeat_after,
    min_severity: config.min_severity,
    route: (alert) => {
      if (config.routes.length === 0) return everybody
      const sinks = new Set<string>()
      for (const route of config.routes) {
        if (!matches(route, alert) || (route.min_severity !== undefined && !severityAtLeast(alert.severity, route.min_severity))) continue
        for (const sink of route.sinks) sinks.add(sink)
        if (!route.continue) break
      }
      return [...sinks]
    },
    silenced: (alert, at) => silences.some((silence) => at >= silence.begins && at < silence.ends && matches(silence, alert)),
  }
}

export const isProtected = (config: ResponsesConfig, target: Target): boolean =>
  config.protected.some(
    (entry) =>
      matchesPattern(entry.id, target.id) &&
      (entry.kind === undefined || matchesPattern(entry.kind, target.kind)) &&
      (entry.provider === undefined || matchesPattern(entry.provider, target.provider)),
  )

interface Match {
  detectors?: string[] | undefined
  teams?: string[] | undefined
  services?: string[] | undefined
  entities?: string[] | undefined
}

const matches = (match: Match, alert: Alert): boolean =>
  oneOf(match.detectors, alert.detector) && oneOf(match.teams, alert.team_id) && oneOf(match.services, alert.service) && oneOf(match.entities, alert.entity)

const oneOf = (patterns: readonly string[] | undefined, value: string | null): boolean =>
  patterns === undefined || (value !== null && patterns.some((entry) => matchesPattern(entry, value)))

/** Linear in the length of the value: pieces between stars are searched from left to right. */
function matchesPattern(pattern: string, value: string): boolean {
  const pieces = pattern.split('*')
  const [first = '', ...rest] = pieces
  if (rest.length === 0) return pattern === value
  const last = rest.pop() ?? ''
  if (!value.startsWith(first) || value.length < first.length + last.length || !value.endsWith(last)) return false
  let at = first.length
  const end = value.length - last.length
  for (const piece of rest) {
    const found = value.indexOf(piece, at)
    if (found === -1 || found + piece.length > end) return false
    at = found + piece.length
  }
  return true
}
