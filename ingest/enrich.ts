/** Country and network of an address, offline. docs/adr/0003-ip-data.md says which data, how wrong it is, and why. */
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { Reader, type Response } from 'maxmind'
import { messageOf, PermanentError } from '../runtime/errors.ts'
import { type Address, isSpecial, parseAddress } from './address.ts'
import { loadAsnTable } from './asn-table.ts'

export interface Place {
  /** ISO 3166-1 alpha-2, upper case. */
  country: string | null
  asn: number | null
  as_name: string | null
}

export interface Geo {
  /** Never throws for an address; a broken database throws PermanentError at the first look-up. */
  lookup(address: Address): Place
}

export interface GeoOptions {
  /** A MaxMind or DB-IP country or city database (.mmdb); default: the one that comes along. */
  country_db?: string | undefined
  /** A MaxMind or DB-IP ASN database (.mmdb); default: the table that comes along. */
  asn_db?: string | undefined
  /** Where the packed default table is kept, so that it is built once; not kept if absent. */
  cache_dir?: string | undefined
}

type Network = { asn: number; name: string | null } | null
interface Databases {
  country(address: Address): string | null
  network(address: Address): Network
}

const NOWHERE: Place = { country: null, asn: null, as_name: null }

/** No geography at all, for installations that do not want it. */
export const noGeo: Geo = { lookup: () => NOWHERE }

/** Opens nothing yet: the data is read at the first public address, so that logs without addresses cost no memory and no time. */
export function openGeo(options: GeoOptions = {}): Geo {
  let databases: Databases | undefined
  return { lookup: (address) => (isSpecial(address) || address.probes.length === 0 ? NOWHERE : placeOf(address, (databases ??= openDatabases(options)))) }
}

/** Of a masked address only that is known on which the whole range agrees. */
function placeOf(address: Address, databases: Databases): Place {
  let place: Place | undefined
  for (const probe of address.probes) {
    const one: Address = probe === address.text && address.prefix >= 32 ? address : (parseAddress(probe) ?? address)
    const country = databases.country(one)
    const network = databases.network(one)
    if (place === undefined) place = { country, asn: network?.asn ?? null, as_name: network?.name ?? null }
    else if (place.country !== country || place.asn !== (network?.asn ?? null)) {
      const same_network = place.asn === (network?.asn ?? null)
      place = { country: place.country === country ? country : null, asn: same_network ? place.asn : null, as_name: same_network ? place.as_name : null }
    }
  }
  return place ?? NOWHERE
}

function openDatabases(options: GeoOptions): Databases {
  const country = openMmdb(options.country_db ?? join(packageFolder('@ip-location-db/geo-whois-asn-country-mmdb'), 'geo-whois-asn-country.mmdb'))
  return { country: (address) => countryOf(country, address), network: openNetworks(options) }
}

function openNetworks(options: GeoOptions): (address: Address) => Network {
  if (options.asn_db === undefined) {
    const table = loadAsnTable(packageFolder('@ip-location-db/asn'), options.cache_dir)
    return (address) => table.find(address)
  }
  const reader = openMmdb(options.asn_db)
  return (address) => {
    const found = reader.get(address.text) as unknown as { autonomous_system_number?: unknown; autonomous_system_organization?: unknown } | null
    const asn = found?.autonomous_system_number
    if (typeof asn !== 'number') return null
    return { asn, name: typeof found?.autonomous_system_organization === 'string' ? found.autonomous_system_organization : null }
  }
}

/** MaxMind and DB-IP nest the code, the database that comes along has it at the top. */
function countryOf(reader: Reader<Response>, address: Address): string | null {
  const found = reader.get(address.text) as unknown as { country_code?: unknown; country?: { iso_code?: unknown } } | null
  const code = found?.country_code ?? found?.country?.iso_code
  return typeof code === 'string' && /^[A-Z]{2}$/.test(code) && code !== 'ZZ' ? code : null
}

function openMmdb(path: string): Reader<Response> {
  try {
    return new Reader<Response>(readFileSync(path))
  } catch (error) {
    throw new PermanentError(`the IP database ${path} cannot be read: ${messageOf(error)}. Point geo.country_db or geo.asn_db at an .mmdb file`)
  }
}

function packageFolder(name: string): string {
  const require = createRequire(import.meta.url)
  for (const folder of require.resolve.paths(name) ?? []) if (existsSync(join(folder, name, 'package.json'))) return join(folder, name)
  throw new PermanentError(`the package ${name} is not installed: run npm ci, or set geo.country_db and geo.asn_db (looked from ${dirname(import.meta.url)})`)
}
