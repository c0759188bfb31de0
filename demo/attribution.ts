/** Who owns which made-up key. Fingerprints depend on the installation's hash key, so the caller hands the function in. */
import { createCompany } from './company.ts'

export interface DemoAttributionEntry {
  owner: string
  team: string
  service: string
  cost_centre: string
  contacts: string[]
}

/** One entry a key, but for the one that is left unclaimed on purpose. `fingerprint` gives the id that stands for a key, such as fp_…. */
export function demoAttribution(fingerprint: (key: string) => string, seed = 1): DemoAttributionEntry[] {
  const company = createCompany(seed)
  return company.services
    .filter((service) => service.attributed)
    .map((service) => {
      const team = company.teams.find((entry) => entry.id === service.team)
      return {
        owner: `key:${fingerprint(service.key)}`,
        team: service.team,
        service: service.id,
        cost_centre: team?.cost_centre ?? '',
        contacts: [...(team?.contacts ?? [])],
      }
    })
}
