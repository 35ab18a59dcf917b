import { connection } from "next/server";
import { Suspense } from "react";

import { db } from "@/lib/db";
import { orders } from "@/lib/db/schema";

async function Count() {
  await connection();
  return <p>{(await db.select().from(orders)).length} orders</p>;
}

export default function Orders() {
  return (
    <Suspense>
      <Count />
    </Suspense>
  );
}
