"use strict";

// Without a larger prefetch and without Nagle's algorithm off, the transporter serves one request at a time, slowly.
module.exports = (url) => ({
	type: "AMQP",
	options: { url, prefetch: 128, socketOptions: { noDelay: true } },
});
