FROM python:3.11-slim AS build
WORKDIR /src
COPY requirements.txt .
RUN python -m venv /opt/gateway \
    && /opt/gateway/bin/pip install --no-cache-dir --require-hashes -r requirements.txt
COPY . .
RUN python -m pip install --no-cache-dir "setuptools>=77" wheel \
    && python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/gateway/bin/pip install --no-cache-dir --no-deps --no-index /wheels/*.whl

FROM python:3.11-slim
RUN useradd --system --uid 10001 gateway
COPY --from=build /opt/gateway /opt/gateway
COPY config/*.yaml /etc/api-gateway/
ENV GATEWAY_CONFIG_DIR=/etc/api-gateway PATH=/opt/gateway/bin:$PATH PYTHONUNBUFFERED=1
USER gateway
EXPOSE 8000
ENTRYPOINT ["api-gateway"]
CMD ["up", "--host", "0.0.0.0"]
