// JavaScript for the container and the package: Node refuses to strip types under node_modules.
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, globSync, mkdirSync, rmSync } from 'node:fs'
import path from 'node:path'

rmSync('dist', { recursive: true, force: true })
execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], { stdio: 'inherit' })
// What is read at run time and is no module: SQL, price books, pages.
const assets = globSync(['store/migrations/*.sql', 'ledger/queries/*.sql', 'pricing/books/*', 'console/**/*.{html,css,js,svg}', 'package.json'])
for (const file of assets) {
  if (!existsSync(file)) continue
  mkdirSync(path.join('dist', path.dirname(file)), { recursive: true })
  cpSync(file, path.join('dist', file))
}
console.log(`dist: ${globSync('dist/**/*.js').length} modules, ${assets.length} assets`)
