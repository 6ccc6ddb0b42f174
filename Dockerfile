FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PERSONAS_HOME=/data PERSONAS_WEB_PROCESSES=2
WORKDIR /app
COPY requirements.lock .
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY . .
RUN useradd --system --home /data --create-home personas && chown personas /data
USER personas
VOLUME /data
EXPOSE 8000
CMD ["python", "-m", "personas_site.serve", "--host", "0.0.0.0"]
