"""The open-loop client, against a server of a few lines."""

import asyncio

from recsys_lib.online.load import open_loop


def test_a_connection_that_the_service_closed_is_opened_again():
    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()

    async def load() -> list[int]:
        async with await asyncio.start_server(answer_once, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return (await open_loop(port, ["/"] * 4, 20, most=1))["status"].tolist()

    assert asyncio.run(load()) == [200] * 4
