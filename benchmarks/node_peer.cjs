// node-postgres and postgres.js as peers of benchmarks/remote.py, which says what goes to and fro.
//
//     node benchmarks/node_peer.cjs pg|postgres URL
//
// Takes them from where node finds them: benchmarks/node_modules, or NODE_PATH. Their values are
// JavaScript's own (no int8, no numeric, no microseconds), so digests say nothing and are empty.

"use strict";

const [, , name, url] = process.argv;

function say(answer) {
  process.stdout.write(JSON.stringify(answer) + "\n");
}

function openPg(pg, address) {
  const client = new pg.Client({ connectionString: address });
  const ask = async (sql, values) => (await client.query({ name: sql, text: sql, values })).rows;
  return { ready: client.connect(), ask, close: () => client.end() };
}

function openPostgres(postgres, address) {
  const sql = postgres(address, { max: 1, ssl: false, onnotice: () => {} });
  const ask = (text, values) => sql.unsafe(text, values, { prepare: true });
  return { ready: sql.unsafe("select 1"), ask, close: () => sql.end() };
}

async function run(peer, request) {
  const { kind, sql, count } = request;
  for (let n = 0; n < count; n++) {
    if (kind === "value") await peer.ask(sql, [n]);
    else if (kind === "row") await peer.ask(sql, [(n % 1000) + 1]);
    else await peer.ask(sql, []);
  }
}

async function main() {
  let driver;
  let version;
  try {
    driver = require(name);
    const manifest = require.resolve(name).replace(/(.*node_modules\/[^/]+)\/.*/, "$1/package.json");
    version = require("node:module").createRequire(__filename)(manifest).version;
  } catch (error) {
    say({ missing: `node finds no ${name}: npm install --prefix benchmarks ${name}` });
    return;
  }
  const address = url.replace(/\?.*/, "");
  const peer = name === "pg" ? openPg(driver, address) : openPostgres(driver, address);
  await peer.ready;
  say({ version: `${version} (node ${process.versions.node})` });
  const lines = require("node:readline").createInterface({ input: process.stdin });
  for await (const line of lines) {
    const request = JSON.parse(line);
    if (request.check) {
      say({ digest: "" });
      continue;
    }
    const wall = process.hrtime.bigint();
    const cpu = process.cpuUsage();
    await run(peer, request);
    const used = process.cpuUsage(cpu);
    const taken = Number(process.hrtime.bigint() - wall) / 1e9;
    say({ wall: taken, cpu: (used.user + used.system) / 1e6 });
  }
  await peer.close();
}

main();
