// Moleculer-web: HTTP in, a remote action called over AMQP. Usage: node front.js AMQP_URL PORT
"use strict";

const { ServiceBroker } = require("moleculer");
const ApiGateway = require("moleculer-web");
const transport = require("./transport");

const [url, port] = process.argv.slice(2);
const broker = new ServiceBroker({ nodeID: "front", logger: false, transporter: transport(url) });

broker.createService({
	name: "api",
	mixins: [ApiGateway],
	settings: {
		ip: "127.0.0.1",
		port: Number(port),
		routes: [{ path: "/", aliases: { "GET /api/users/:id": "users.get" } }],
	},
});

broker.start();
