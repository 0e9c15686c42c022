// The service behind Moleculer-web: each action is one upstream call, by Node's own HTTP client or by undici.
// Usage: node back.js AMQP_URL UPSTREAM_URL http|undici
"use strict";

const http = require("http");
const { ServiceBroker } = require("moleculer");
const { Pool } = require("undici");
const transport = require("./transport");

const [url, upstream, client] = process.argv.slice(2);
const broker = new ServiceBroker({ nodeID: "back", logger: false, transporter: transport(url) });

function byHttp() {
	const { hostname, port } = new URL(upstream);
	const agent = new http.Agent({ keepAlive: true, maxSockets: 256 });
	return (path) => new Promise((resolve, reject) => {
		http.get({ agent, hostname, port, path }, (answer) => {
			const parts = [];
			answer.on("data", (part) => parts.push(part));
			answer.on("error", reject);
			answer.on("end", () => resolve({
				status: answer.statusCode,
				type: answer.headers["content-type"],
				text: Buffer.concat(parts).toString(),
			}));
		}).on("error", reject);
	});
}

function byUndici() {
	const pool = new Pool(upstream, { connections: 256 });
	return async (path) => {
		const { statusCode, headers, body } = await pool.request({ method: "GET", path });
		return { status: statusCode, type: headers["content-type"], text: await body.text() };
	};
}

const get = client === "undici" ? byUndici() : byHttp();

broker.createService({
	name: "users",
	actions: {
		async get(ctx) {
			const { status, type, text } = await get(`/api/users/${encodeURIComponent(ctx.params.id)}`);
			ctx.meta.$statusCode = status;
			ctx.meta.$responseType = type;
			return text;
		},
	},
});

broker.start();
