// The service behind Moleculer-web: each action is one upstream call. Usage: node back.js AMQP_URL UPSTREAM_URL
"use strict";

const { ServiceBroker } = require("moleculer");
const { Pool } = require("undici");
const transport = require("./transport");

const [url, upstream] = process.argv.slice(2);
const broker = new ServiceBroker({ nodeID: "back", logger: false, transporter: transport(url) });
const pool = new Pool(upstream, { connections: 256 });

broker.createService({
	name: "users",
	actions: {
		async get(ctx) {
			const { statusCode, headers, body } = await pool.request({
				method: "GET",
				path: `/api/users/${encodeURIComponent(ctx.params.id)}`,
			});
			ctx.meta.$statusCode = statusCode;
			ctx.meta.$responseType = headers["content-type"];
			return body.text();
		},
	},
});

broker.start();
