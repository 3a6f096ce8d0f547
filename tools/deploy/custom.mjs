// Validates documents of KEDA's and the Prometheus operator's kinds with the schemas of the npm
// packages @kubernetes-models/keda and @kubernetes-models/prometheus-operator, which are in
// node_modules of the working directory.
//
// Usage: node custom.mjs DOCUMENTS.json
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const packages = { "keda.sh": "keda", "monitoring.coreos.com": "prometheus-operator" };
const documents = JSON.parse(readFileSync(process.argv[2]));
for (const document of documents) {
  const [group] = document.apiVersion.split("/");
  const file = `node_modules/@kubernetes-models/${packages[group]}/${document.apiVersion}/${document.kind}.js`;
  const kind = await import(pathToFileURL(`${process.cwd()}/${file}`));
  new kind[document.kind](document).validate();
}
console.log(`  ${documents.length} documents of KEDA and the Prometheus operator are valid`);
